"""What is done to one container, and how it is undone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.containers.composed import ComposedMesh, docker


@dataclass(frozen=True, slots=True)
class Hurt:
    """One thing that happens to a container.

    Attributes:
        name: as the table calls it.
        seconds: until it is undone.
        begin, end: do it to a container and undo it; a restart is whole after `begin`.
    """

    name: str
    seconds: float
    begin: Callable[[str], object]
    end: Callable[[str], object]


class Networks:
    """How containers hang on the network, to put one back where it was."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def cut(self, container: str) -> None:
        """Take the cable out: nothing tells the other ends."""
        found = json.loads(docker("inspect", container).stdout)[0]["NetworkSettings"]["Networks"]
        ((network, place),) = found.items()
        self._known[container] = (network, place)
        docker("network", "disconnect", network, container)

    def put_back(self, container: str) -> None:
        """The same address and names as before."""
        network, place = self._known.pop(container)
        names = [f"--alias={name}" for name in place["Aliases"] or ()]
        docker("network", "connect", f"--ip={place['IPAddress']}", *names, network, container)


def hurts(*, kill: float = 5.0, pause: float = 24.0, cut: float = 24.0) -> dict[str, Hurt]:
    """All of them by name; how long each lasts in seconds.

    A pause is longer than any keepalive: the client's for what takes uploads is 22 s.
    """
    networks = Networks()
    found = (
        Hurt("killed", kill, partial(docker, "kill"), partial(docker, "start")),
        Hurt("paused", pause, partial(docker, "pause"), partial(docker, "unpause")),
        Hurt("cut off", cut, networks.cut, networks.put_back),
        Hurt("restarted", 0.0, partial(docker, "restart"), lambda container: None),
    )
    return {hurt.name: hurt for hurt in found}


class Containers:
    """The containers of a mesh by service, as long as none is made anew."""

    def __init__(self, mesh: ComposedMesh) -> None:
        self._ids = {service: mesh.container(service) for service in mesh.services()}

    def id_of(self, service: str) -> str:
        """The id of a service's container."""
        return self._ids[service]

    def wait_healthy(self, seconds: float) -> None:
        """Wait until all of them are. One look at all costs as much as at one."""
        deadline = time.monotonic() + seconds
        while unhealthy := self._unhealthy():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not healthy after {seconds} s: {unhealthy}")
            # Each look is a process; the machine has other work.
            time.sleep(0.5)

    def _unhealthy(self) -> list[str]:
        shown = "{{.Id}} {{.State.Health.Status}}"
        lines = docker("inspect", f"--format={shown}", *self._ids.values()).stdout.decode()
        return [line for line in lines.splitlines() if not line.endswith(" healthy")]

"""What is done to one container, and how it is undone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.containers.composed import ComposedMesh, docker, wait_healthy


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
        """Take its network away: it has no route at once, others none to it after some seconds."""
        found = json.loads(docker("inspect", container).stdout)[0]["NetworkSettings"]["Networks"]
        ((network, place),) = found.items()
        self._known[container] = (network, place)
        docker("network", "disconnect", network, container)

    def put_back(self, container: str) -> None:
        """The same address and names as before."""
        network, place = self._known.pop(container)
        names = [f"--alias={name}" for name in place["Aliases"] or ()]
        docker("network", "connect", f"--ip={place['IPAddress']}", *names, network, container)


# Longer than it takes to give up one that takes uploads, the client's 22 s; and any other, where a
# session of PostgreSQL takes the longest with 15 s.
SILENT_UPLOADS_SECONDS = 24.0
SILENT_SECONDS = 17.0
TAKE_UPLOADS = ("ingest", "ingest-2", "se-01", "se-02", "se-03")


def silence_of(service: str) -> float:
    """For how many seconds a container is silent so that everyone has given it up."""
    return SILENT_UPLOADS_SECONDS if service in TAKE_UPLOADS else SILENT_SECONDS


def hurts(*, silence: float, kill: float = 5.0) -> dict[str, Hurt]:
    """All of them by name.

    Args:
        silence: seconds of a pause and of a cut.
        kill: seconds until one that was killed is started again.
    """
    networks = Networks()
    found = (
        Hurt("killed", kill, partial(docker, "kill"), partial(docker, "start")),
        Hurt("restarted", 0.0, partial(docker, "restart"), lambda container: None),
        Hurt("paused", silence, partial(docker, "pause"), partial(docker, "unpause")),
        Hurt("cut off", silence, networks.cut, networks.put_back),
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
        """Wait until all of them are."""
        wait_healthy(list(self._ids.values()), seconds)

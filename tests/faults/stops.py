"""Servers that stop at a step of a transfer, for as long as a test wants."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.mesh import REPOSITORY, MeshProcess
from tests.support.waiting import wait_until

_STOPPING = Path(__file__).parent / "stopping"
# As `stopping/sitecustomize.py` calls it.
FOLDER = "stops"
STOP_SECONDS = 30.0


def that_stop() -> Mapping[str, str]:
    """Environment of a mesh whose servers can be stopped."""
    path = os.pathsep.join([str(_STOPPING), str(REPOSITORY), str(REPOSITORY / "gen")])
    return {"PYTHONPATH": path}


@dataclass(frozen=True, slots=True)
class Stop:
    """A step of one server, or of whichever of several comes first.

    Attributes:
        servers: names in mesh.json, or admin-PORT.
        point: `before Class.method` or `after Class.method`, as `stopping/sitecustomize.py` lists.
        times: at which passing of it.
    """

    servers: tuple[str, ...]
    point: str
    times: int = 1


class Stops:
    """Asks servers of one mesh to stop."""

    def __init__(self, mesh: MeshProcess) -> None:
        self._folder = mesh.data_dir / FOLDER
        self._folder.mkdir(exist_ok=True)

    def ask(self, stop: Stop) -> None:
        """Let the server stop when it comes there next."""
        self.clear()
        for server in stop.servers:
            new = self._folder / f".{server}"
            new.write_text(json.dumps({"point": stop.point, "times": stop.times}))
            new.rename(self._folder / server)

    def reached(self, pids: Mapping[str, int], what: str) -> str:
        """Wait until a server has stopped; which one.

        Args:
            pids: of the servers that were asked.
        """

        def is_stopped() -> bool:
            return any(
                (self._folder / f"{server}.reached").exists()
                and psutil.Process(pid).status() == psutil.STATUS_STOPPED
                for server, pid in pids.items()
            )

        wait_until(is_stopped, STOP_SECONDS, f"a server comes to {what}")
        name = next(one for one in pids if (self._folder / f"{one}.reached").exists())
        for server in pids:
            (self._folder / server).unlink(missing_ok=True)
        return name

    def clear(self) -> None:
        """Ask nobody any more."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


def go_on(pid: int) -> None:
    """Let a stopped process go on."""
    os.kill(pid, signal.SIGCONT)

"""How much memory processes take while something happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from launch import processes
from tests.support.mesh import MeshProcess

INTERVAL_SECONDS = 0.05


@dataclass
class Growth:
    """Bytes of resident memory beyond the first look, at the worst moment, by process.

    Attributes:
        looks: how often it was looked.
    """

    most: dict[str, int] = field(default_factory=dict)
    looks: int = 0


@contextmanager
def watched(mesh: MeshProcess, *names: str) -> Iterator[Growth]:
    """Look at the resident memory of processes of a mesh, from begin to end of the block."""
    pids = {name: mesh.pid_of(name) for name in names}
    before, growth, ended = _resident(pids), Growth(dict.fromkeys(names, 0)), threading.Event()

    def look() -> None:
        while not ended.wait(INTERVAL_SECONDS):
            for name, size in _resident(pids).items():
                growth.most[name] = max(growth.most[name], size - before[name])
            growth.looks += 1

    thread = threading.Thread(target=look, name="memory")
    thread.start()
    try:
        yield growth
    finally:
        ended.set()
        thread.join()


def _resident(pids: Mapping[str, int]) -> dict[str, int]:
    return {
        name: sum(process.memory_info().rss for process in processes.family(pid))
        for name, pid in pids.items()
    }

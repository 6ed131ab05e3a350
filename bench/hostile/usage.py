"""Memory and descriptors of processes, as /proc has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.25
MIB = 1024 * 1024
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has.

    Attributes:
        rss, pss: bytes in memory; of what is shared with others all, or its part.
    """

    rss: int
    pss: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """What it has now. OSError if it is gone."""
        folder = Path(f"/proc/{pid}")
        sizes = {
            name: int(rest.split()[0]) * _KIB
            for name, _, rest in (
                line.partition(":")
                for line in (folder / "smaps_rollup").read_text().splitlines()[1:]
            )
        }
        return cls(sizes["Rss"], sizes["Pss"], sum(1 for _ in (folder / "fd").iterdir()))

    def most(self, other: Usage) -> Usage:
        """The larger of each."""
        return Usage(
            max(self.rss, other.rss),
            max(self.pss, other.pss),
            max(self.descriptors, other.descriptors),
        )


def usage_of(processes: Mapping[str, int]) -> dict[str, Usage]:
    """What each of them has now."""
    return {name: Usage.of(pid) for name, pid in processes.items()}


@asynccontextmanager
async def highest(processes: Mapping[str, int]) -> AsyncIterator[dict[str, Usage]]:
    """The most that each of them has had until the context ends; it grows meanwhile."""
    found = usage_of(processes)

    async def sample() -> None:
        while True:
            for name, now in (await asyncio.to_thread(usage_of, processes)).items():
                found[name] = found[name].most(now)
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield found
    finally:
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling

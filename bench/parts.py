"""What can be measured one at a time: each part starts what it needs and fills its results."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import (
    audit,
    calls,
    followers,
    growth,
    idle,
    life,
    live,
    memory,
    one_file,
    rebuild,
    s3,
    search,
    transfer,
    uploads,
)
from bench.figures import Results
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.peers.object_store import object_store
from bench.peers.processes import mesh as running_mesh
from bench.transfer import MIB
from bench.tree import Tree

# What takes long is repeated less.
LONG_ROUNDS = 3
FILES_OF_ONE_FOLDER = 20_000
COUNTED_FILES = 1_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        size: bytes of a transfer; big: of the one file whose memory is watched.
        files: on disk; s3_files: on S3; followed: new ones in each round of followers.
        rows: searched.
        most_files: that growth goes up to.
        seconds: of what is watched for a time: reads, uploads, idling.
        finalized: files, of `finalized_bytes`; small: files of 2 kB.
    """

    rounds: int = 5
    size: int = 256 * MIB
    files: int = 100_000
    followed: int = 25_000
    s3_files: int = 20_000
    big: int = 2048 * MIB
    rows: int = 1_000_000
    most_files: int = 1_000_000
    seconds: float = 20.0
    changes: int = 2000
    finalized: int = 30
    finalized_bytes: int = 10 * MIB
    small: int = 300
    repeats: int = 40

    @property
    def long_rounds(self) -> int:
        """Of what takes long."""
        return min(self.rounds, LONG_ROUNDS)

    def told(self) -> dict[str, object]:
        """For the report."""
        return {
            "rounds": f"{self.rounds}, at most {LONG_ROUNDS} of what takes long",
            "transfers": f"{self.size // MIB} MiB, {self.big // MIB} MiB for memory",
            "files": f"{self.files:,} on disk, {self.s3_files:,} on S3",
            "followed": f"{self.followed:,} a round",
            "rows": f"{self.rows:,}",
        }


QUICK = Sizes(
    rounds=3,
    size=64 * MIB,
    files=10_000,
    followed=5_000,
    s3_files=2_000,
    big=256 * MIB,
    rows=50_000,
    most_files=10_000,
    seconds=8.0,
    changes=300,
    finalized=5,
    finalized_bytes=MIB,
    small=40,
    repeats=10,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part runs.

    Attributes:
        folder: for whatever it writes, on the disk that is measured.
        tree: the checkout that is measured.
    """

    folder: Path
    tree: Tree
    port_offset: int

    @asynccontextmanager
    async def mesh(
        self, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[Mesh]:
        """A mesh of its own, with more variables."""
        at = (folder or self.folder) / "mesh"
        with running_mesh(at, self.port_offset, self.tree, **(environment or {})) as described:
            mesh = Mesh.of(described, self.tree)
            async with mesh.client:
                yield mesh


@contextmanager
def _in_memory() -> Iterator[Path]:
    """A folder on a file system in memory, where fsync costs nothing for either side."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="artstore-bench-") as name:
        yield Path(name)


async def _upload_memory(results: Results, sizes: Sizes, place: Place) -> None:
    with _in_memory() as folder:
        async with place.mesh(folder) as mesh:
            await uploads.uploads(
                results,
                mesh,
                size=sizes.size,
                rounds=sizes.rounds,
                folder=folder,
                where=uploads.IN_MEMORY,
            )


async def _upload_disk(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        await uploads.uploads(
            results,
            mesh,
            size=sizes.size,
            rounds=sizes.rounds,
            folder=place.folder,
            where=uploads.ON_DISK,
        )


async def _download(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        results.figures += await transfer.downloads(mesh, size=sizes.size, rounds=sizes.rounds)
        results.figures += await transfer.small_uploads(mesh, rounds=sizes.rounds)


async def _calls(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        uploaded = await mesh.client.upload(b"x", name="bench.bin")
        results.figures += await calls.get_file(mesh, uploaded.file_id, rounds=sizes.rounds)


async def _one_file(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        results.figures += await one_file.operations(mesh, repeats=sizes.repeats)


async def _idle(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        results.figures += await idle.idling(mesh, seconds=sizes.seconds, rounds=sizes.long_rounds)


async def _rebuild(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        await rebuild.local(
            results,
            mesh,
            files=sizes.files,
            rounds=sizes.long_rounds,
            read_seconds=sizes.seconds / 2,
        )
        results.figures += await rebuild.one_folder(
            mesh, files=min(sizes.files, FILES_OF_ONE_FOLDER), rounds=sizes.long_rounds
        )


async def _rebuild_live(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        await live.rebuild(results, mesh, files=sizes.most_files, read_seconds=sizes.seconds)


async def _followers(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        await followers.following(results, mesh, files=sizes.followed, rounds=sizes.long_rounds)


async def _s3(results: Results, sizes: Sizes, place: Place) -> None:
    results.parameters["S3"] = "SeaweedFS, whose data lie in memory"
    with _in_memory() as folder, object_store(folder / "buckets") as store:
        async with place.mesh(environment=store.environment()) as mesh:
            results.figures += await s3.operations(
                mesh, store, files=sizes.s3_files, rounds=sizes.long_rounds
            )
            results.figures += await s3.transfers(mesh, store, rounds=sizes.rounds)
            # A quarter: the server is a process of this machine too.
            results.figures += await memory.growth(mesh, size=sizes.big // 4, label="S3")
    with _in_memory() as folder, object_store(folder / "buckets", counting=True) as store:
        async with place.mesh(environment=store.environment()) as mesh:
            results.figures += await s3.sidecar_reads(
                mesh, store, files=min(sizes.s3_files, COUNTED_FILES)
            )


async def _growth(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        await growth.growing(results, mesh, most=sizes.most_files, rounds=sizes.long_rounds)


async def _memory(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        results.figures += await memory.growth(mesh, size=sizes.big, label="disk")


async def _search(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        results.figures += await search.searchable(mesh, upload_seconds=sizes.seconds)
        results.figures += await search.filtered(mesh, rows=sizes.rows, rounds=sizes.long_rounds)


async def _audit(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        results.figures += await audit.cost(mesh, changes=sizes.changes, rounds=sizes.long_rounds)


async def _life(results: Results, sizes: Sizes, place: Place) -> None:
    async with place.mesh() as mesh:
        await _lives(results, sizes, mesh, small=sizes.small, label="disk")


async def _life_s3(results: Results, sizes: Sizes, place: Place) -> None:
    with object_store(place.folder / "buckets") as store:
        async with place.mesh(environment=store.environment()) as mesh:
            # There the S3 server is a process of this machine too.
            await _lives(results, sizes, mesh, small=sizes.small // 5, label="S3")


async def _lives(results: Results, sizes: Sizes, mesh: Mesh, *, small: int, label: str) -> None:
    rounds = sizes.long_rounds
    results.figures += await life.finalizations(
        mesh, files=sizes.finalized, size=sizes.finalized_bytes, label=label
    )
    results.figures += await life.small_files(mesh, files=small, rounds=rounds, label=label)
    results.figures += await life.large_files(mesh, size=sizes.size, rounds=rounds, label=label)


Part = Callable[[Results, Sizes, Place], Awaitable[None]]
PARTS: Mapping[str, Part] = {
    "upload-memory": _upload_memory,
    "upload-disk": _upload_disk,
    "download": _download,
    "calls": _calls,
    "one-file": _one_file,
    "rebuild": _rebuild,
    "rebuild-live": _rebuild_live,
    "followers": _followers,
    "s3": _s3,
    "growth": _growth,
    "memory": _memory,
    "search": _search,
    "audit": _audit,
    "life": _life,
    "life-s3": _life_s3,
    "idle": _idle,
}


async def _make_test(results: Results, sizes: Sizes, place: Place) -> None:
    """The whole of `make test`, which takes longer than all else."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        "make", "-C", str(place.tree.folder), "test", stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError("make test failed")
    results.figures.append(ROWS["make test"].measured([(time.monotonic() - started) / 60]))


ON_DEMAND: Mapping[str, Part] = {"make-test": _make_test}

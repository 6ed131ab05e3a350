"""`python -m bench`: measure, write bench/results.json and bench/report.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import audit, cache, calls, growth, life, memory, one_file, s3, search, transfer
from bench.figures import Results
from bench.hostile.attack import Extent, attacked
from bench.hostile.kinds import KINDS
from bench.machine import describe
from bench.meshes import Mesh
from bench.peers.object_store import object_store
from bench.peers.processes import mesh as running_mesh
from bench.population import Folder
from bench.report import GROWTH, as_markdown

# Takes an hour, so it runs only when asked for, alone, and has a report of its own.
HOSTILE = "hostile"
REPEATS_OF_ONE_FILE = 40
# What takes long is repeated less, so that all parts end within twelve minutes.
LONG_ROUNDS = 3
READ_SECONDS = 20.0
UPLOAD_SECONDS = 15.0
AUDITED_CHANGES = 2000
FINALIZED_FILES = 30
FINALIZED_BYTES = 10 * transfer.MIB
SMALL_TRANSFERS = 300
# There the S3 server is a process of this machine too.
SMALL_TRANSFERS_ON_S3 = 60


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--part", action="append", choices=[*PARTS, HOSTILE], help="only this; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--size-mib", type=int, default=256, help="of a transfer (default 256)")
    parser.add_argument("--files", type=int, default=100_000, help="on disk (default 100,000)")
    parser.add_argument("--s3-files", type=int, default=10_000, help="on S3 (default 10,000)")
    parser.add_argument("--big-mib", type=int, default=2048, help="of one file (default 2048)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="searched (default 1,000,000)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="of hostile callers only")
    parser.add_argument("--callers", type=int, default=300, help="hostile ones (default 300)")
    parser.add_argument("--attack-seconds", type=float, default=15.0, help="each (default 15)")
    parser.add_argument("--quiet-seconds", type=float, default=60.0, help="after (default 60)")
    parser.add_argument("--port-offset", type=int, default=20000, help="of the mesh measured")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="for the results")
    return parser.parse_args()


@asynccontextmanager
async def _mesh(
    arguments: argparse.Namespace, folder: Path, **environment: str
) -> AsyncIterator[Mesh]:
    with running_mesh(folder / "mesh", arguments.port_offset, **environment) as described:
        mesh = Mesh.of(described)
        async with mesh.client:
            yield mesh


async def _transfer(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    size = arguments.size_mib * transfer.MIB
    async with _mesh(arguments, folder) as mesh:
        results.figures += await transfer.uploads(
            mesh, size=size, rounds=arguments.rounds, folder=folder, label="disk"
        )
        results.figures += await transfer.downloads(mesh, size=size, rounds=arguments.rounds)
        results.figures += await transfer.small_uploads(mesh, rounds=arguments.rounds)


async def _memory_disk(results: Results, arguments: argparse.Namespace, _: Path) -> None:
    """The same on a file system in memory, where fsync costs nothing for either side."""
    size = arguments.size_mib * transfer.MIB
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="artstore-bench-") as name:
        folder = Path(name)
        async with _mesh(arguments, folder) as mesh:
            results.figures += await transfer.uploads(
                mesh, size=size, rounds=arguments.rounds, folder=folder, label="in memory"
            )


async def _calls(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        uploaded = await mesh.client.upload(b"x", name="bench.bin")
        results.figures += await calls.get_file(mesh, uploaded.file_id, rounds=arguments.rounds)


async def _one_file(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        results.figures += await one_file.operations(mesh, repeats=REPEATS_OF_ONE_FILE)


async def _cache(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        await cache.local(
            results,
            mesh,
            Folder(mesh.data_dir / "storage_element_01"),
            files=arguments.files,
            rounds=min(arguments.rounds, LONG_ROUNDS),
            read_seconds=READ_SECONDS,
        )


async def _s3(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    with object_store(folder / "buckets") as store:
        async with _mesh(arguments, folder, **store.environment()) as mesh:
            results.figures += await s3.operations(
                mesh, store, files=arguments.s3_files, rounds=min(arguments.rounds, LONG_ROUNDS)
            )
            # A quarter: the server is a process of this machine too.
            size = arguments.big_mib * transfer.MIB // 4
            results.figures += await memory.growth(mesh, size=size, label="S3")


async def _memory(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        size = arguments.big_mib * transfer.MIB
        results.figures += await memory.growth(mesh, size=size, label="disk")


async def _search(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        results.figures += await search.searchable(mesh, upload_seconds=UPLOAD_SECONDS)
        results.figures += await search.filtered(
            mesh, rows=arguments.rows, rounds=min(arguments.rounds, LONG_ROUNDS)
        )


async def _audit(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        results.figures += await audit.cost(
            mesh, changes=AUDITED_CHANGES, rounds=min(arguments.rounds, LONG_ROUNDS)
        )


async def _life(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    async with _mesh(arguments, folder) as mesh:
        await _lives(results, arguments, mesh, small=SMALL_TRANSFERS, label="disk")


async def _life_s3(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    with object_store(folder / "buckets") as store:
        async with _mesh(arguments, folder, **store.environment()) as mesh:
            await _lives(results, arguments, mesh, small=SMALL_TRANSFERS_ON_S3, label="S3")


async def _lives(
    results: Results, arguments: argparse.Namespace, mesh: Mesh, *, small: int, label: str
) -> None:
    size = arguments.size_mib * transfer.MIB
    rounds = min(arguments.rounds, LONG_ROUNDS)
    results.figures += await life.finalizations(
        mesh, files=FINALIZED_FILES, size=FINALIZED_BYTES, label=label
    )
    results.figures += await life.small_files(mesh, files=small, rounds=rounds, label=label)
    results.figures += await life.large_files(mesh, size=size, rounds=rounds, label=label)


async def _hostile(arguments: argparse.Namespace, folder: Path) -> None:
    extent = Extent(
        arguments.callers,
        min(arguments.rounds, LONG_ROUNDS),
        arguments.attack_seconds,
        arguments.quiet_seconds,
    )
    parameters: dict[str, object] = {
        "hostile callers": extent.callers,
        "rounds": f"{extent.rounds} of {extent.seconds:g} s, each after one against the sink",
    }
    results = Results(describe(folder), parameters)
    for kind in arguments.kind or KINDS:
        # A mesh of its own for each: a server that has grown does not grow again.
        async with _mesh(arguments, folder) as mesh:
            measured = await attacked(mesh, kind, extent)
        measured.tell(kind)
        results.figures += measured.as_figures(kind, extent)
        _write(results, arguments.out, f"{HOSTILE}-")
    print(as_markdown(results))


PARTS = {
    "transfer": _transfer,
    "memory-disk": _memory_disk,
    "calls": _calls,
    "one-file": _one_file,
    "cache": _cache,
    "s3": _s3,
    "memory": _memory,
    "search": _search,
    "audit": _audit,
    "life": _life,
    "life-s3": _life_s3,
}


async def _run(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure part by part; what was measured is written before the next one can fail."""
    wanted = arguments.part or list(PARTS)
    parameters: dict[str, object] = {
        "transfer size": f"{arguments.size_mib} MiB",
        "rounds": f"{arguments.rounds}, at most {LONG_ROUNDS} of what takes long",
        "files": f"{arguments.files:,} on disk, {arguments.s3_files:,} on S3",
        "big file": f"{arguments.big_mib} MiB on disk, a quarter of that on S3",
        "rows searched": f"{arguments.rows:,}",
        "parts": ", ".join(wanted),
    }
    results = Results(describe(folder), parameters)
    for name, part in PARTS.items():
        if name in wanted:
            await part(results, arguments, folder)
            _write(results, arguments.out)
    if results.figures:
        print(as_markdown(results))
    if HOSTILE in wanted:
        await _hostile(arguments, folder)


def _write(results: Results, folder: Path, prefix: str = "") -> None:
    (folder / f"{prefix}results.json").write_text(json.dumps(results.as_json(), indent=2) + "\n")
    (folder / f"{prefix}report.md").write_text(as_markdown(results))
    if results.growth:
        (folder / GROWTH).write_text(growth.as_svg(results.growth))


def main() -> int:
    """Run the parts that were asked for."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".run-") as name:
        asyncio.run(_run(arguments, Path(name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

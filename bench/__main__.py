"""`python -m bench`: measure, write bench/results.json and bench/report.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from bench import calls, transfer
from bench.figures import Results
from bench.machine import describe
from bench.meshes import Mesh
from bench.peers.processes import mesh as running_mesh
from bench.report import as_markdown

PARTS = ("transfer", "memory-disk", "calls")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; repeatable")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--size-mib", type=int, default=256, help="of a transfer (default 256)")
    parser.add_argument("--port-offset", type=int, default=20000, help="of the mesh measured")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="for the results")
    return parser.parse_args()


async def _transfer(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    size = arguments.size_mib * transfer.MIB
    with running_mesh(folder / "mesh", arguments.port_offset) as described:
        mesh = Mesh.of(described)
        async with mesh.client:
            results.figures += await transfer.uploads(
                mesh, size=size, rounds=arguments.rounds, folder=folder, label="disk"
            )
            results.figures += await transfer.downloads(mesh, size=size, rounds=arguments.rounds)
            results.figures += await transfer.small_uploads(mesh, rounds=arguments.rounds)


async def _memory_disk(results: Results, arguments: argparse.Namespace) -> None:
    """The same on a file system in memory, where fsync costs nothing for either side."""
    size = arguments.size_mib * transfer.MIB
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="artstore-bench-") as name:
        folder = Path(name)
        with running_mesh(folder / "mesh", arguments.port_offset) as described:
            mesh = Mesh.of(described)
            async with mesh.client:
                results.figures += await transfer.uploads(
                    mesh, size=size, rounds=arguments.rounds, folder=folder, label="in memory"
                )


async def _calls(results: Results, arguments: argparse.Namespace, folder: Path) -> None:
    with running_mesh(folder / "mesh", arguments.port_offset) as described:
        mesh = Mesh.of(described)
        async with mesh.client:
            uploaded = await mesh.client.upload(b"x", name="bench.bin")
            results.figures += await calls.get_file(mesh, uploaded.file_id, rounds=arguments.rounds)


async def _run(arguments: argparse.Namespace, folder: Path) -> Results:
    wanted = arguments.part or PARTS
    results = Results(
        describe(folder), {"transfer size": f"{arguments.size_mib} MiB", "parts": ", ".join(wanted)}
    )
    if "transfer" in wanted:
        await _transfer(results, arguments, folder)
    if "memory-disk" in wanted:
        await _memory_disk(results, arguments)
    if "calls" in wanted:
        await _calls(results, arguments, folder)
    return results


def main() -> int:
    """Run the parts that were asked for."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".run-") as name:
        results = asyncio.run(_run(arguments, Path(name)))
    page = as_markdown(results)
    (arguments.out / "results.json").write_text(json.dumps(results.as_json(), indent=2) + "\n")
    (arguments.out / "report.md").write_text(page)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())

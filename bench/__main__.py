"""`python -m bench`: measure part by part; write bench/results.json and bench/report.md."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.figures import Book, Results, read_book, write_book
from bench.hostile.attack import Extent, attacked
from bench.hostile.kinds import KINDS
from bench.machine import describe
from bench.parts import LONG_ROUNDS, ON_DEMAND, PARTS, QUICK, Place, Sizes
from bench.report import as_markdown, write_page
from bench.transfer import MIB
from bench.tree import OWN, Tree

# Takes an hour, so it runs only when asked for, alone, and has a report of its own.
HOSTILE = "hostile"
NOW, BEFORE = "results.json", "results-before.json"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--part",
        action="append",
        help=f"only this, or those whose names begin so; repeatable: {', '.join(PARTS)};"
        f" only when named: {', '.join((*ON_DEMAND, HOSTILE))}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, a part in minutes")
    parser.add_argument(
        "--resume", action="store_true", help="pass over parts that are measured at this commit"
    )
    parser.add_argument("--report", action="store_true", help="write the report anew, no more")
    parser.add_argument(
        "--tree", type=Path, help="checkout whose servers and client are measured (default: this)"
    )
    parser.add_argument(
        "--before", action="store_true", help="results are those of before, to compare with"
    )
    parser.add_argument("--rounds", type=int, help="counted rounds")
    parser.add_argument("--size-mib", type=int, help="of a transfer")
    parser.add_argument("--files", type=int, help="on disk")
    parser.add_argument("--s3-files", type=int, help="on S3")
    parser.add_argument("--most-files", type=int, help="that growth goes up to")
    parser.add_argument("--big-mib", type=int, help="of the file whose memory is watched")
    parser.add_argument("--rows", type=int, help="searched")
    parser.add_argument("--kind", action="append", choices=KINDS, help="of hostile callers only")
    parser.add_argument("--callers", type=int, default=300, help="hostile ones (default 300)")
    parser.add_argument("--attack-seconds", type=float, default=15.0, help="each (default 15)")
    parser.add_argument("--quiet-seconds", type=float, default=60.0, help="after (default 60)")
    parser.add_argument("--port-offset", type=int, default=20000, help="of the mesh measured")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="for the results")
    arguments = parser.parse_args()
    arguments.part = _named(parser, arguments.part or [])
    return arguments


def _named(parser: argparse.ArgumentParser, wanted: list[str]) -> list[str]:
    """The parts whose names begin with what was wanted; all but those on demand by default."""
    found = [] if wanted else list(PARTS)
    for begin in wanted:
        exact = [name for name in (*PARTS, *ON_DEMAND, HOSTILE) if name == begin]
        some = exact or [name for name in PARTS if name.startswith(begin)]
        if not some:
            parser.error(f"no part is called {begin}")
        found += some
    return found


def _sizes(arguments: argparse.Namespace) -> Sizes:
    sizes = QUICK if arguments.quick else Sizes()
    given = {
        "rounds": arguments.rounds,
        "files": arguments.files,
        "s3_files": arguments.s3_files,
        "most_files": arguments.most_files,
        "rows": arguments.rows,
        "size": arguments.size_mib and arguments.size_mib * MIB,
        "big": arguments.big_mib and arguments.big_mib * MIB,
    }
    return replace(sizes, **{name: value for name, value in given.items() if value})


async def _measure(arguments: argparse.Namespace, book: Book, path: Path) -> None:
    """Part by part; what was measured is written before the next one can fail."""
    tree = Tree(arguments.tree.absolute()) if arguments.tree else OWN
    sizes = _sizes(arguments)
    for name in arguments.part:
        part = {**PARTS, **ON_DEMAND}.get(name)
        if part is None:
            continue
        told = {"commit": tree.commit, **sizes.told()}
        if arguments.resume and _has(book, name, told):
            continue
        with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".run-") as folder:
            when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            results = Results(describe(Path(folder)), {"measured": f"{when} UTC", **told})
            await part(results, sizes, Place(Path(folder), tree, arguments.port_offset))
        # Another run may have written meanwhile.
        book |= read_book(path) | {name: results}
        write_book(path, book)


def _has(book: Book, name: str, told: dict[str, object]) -> bool:
    return name in book and told.items() <= book[name].parameters.items()


async def _hostile(arguments: argparse.Namespace, folder: Path) -> None:
    extent = Extent(
        arguments.callers,
        min(arguments.rounds or LONG_ROUNDS, LONG_ROUNDS),
        arguments.attack_seconds,
        arguments.quiet_seconds,
    )
    parameters: dict[str, object] = {
        "hostile callers": extent.callers,
        "rounds": f"{extent.rounds} of {extent.seconds:g} s, each after one against the sink",
    }
    results = Results(describe(folder), parameters)
    book = {HOSTILE: results}
    for kind in arguments.kind or KINDS:
        # A mesh of its own for each: a server that has grown does not grow again.
        async with Place(folder, OWN, arguments.port_offset).mesh() as mesh:
            measured = await attacked(mesh, kind, extent)
        measured.tell(kind)
        results.figures += measured.as_figures(kind, extent)
        write_book(arguments.out / f"{HOSTILE}-results.json", book)
        page = as_markdown(book, whole=False)
        (arguments.out / f"{HOSTILE}-report.md").write_text(page)
    print(page)


def _end(*_: object) -> None:
    """End the mesh too and leave no files behind, which takes a while: once is enough."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def main() -> int:
    """Run the parts that were asked for."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _end)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if HOSTILE in arguments.part:
        with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".run-") as name:
            asyncio.run(_hostile(arguments, Path(name)))
        return 0
    path = arguments.out / (BEFORE if arguments.before else NOW)
    book = read_book(path)
    if not arguments.report:
        asyncio.run(_measure(arguments, book, path))
    before = read_book(arguments.out / BEFORE)
    now = read_book(arguments.out / NOW)
    write_page(arguments.out, now, before)
    shown = {name: one for name, one in book.items() if name in arguments.part}
    print(as_markdown(shown, {} if arguments.before else before, whole=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

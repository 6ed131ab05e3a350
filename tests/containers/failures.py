"""Hurting one container after the other under load, and the table of what came of it."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from artstore_client import Client
from tests.containers.hurts import Containers, Hurt
from tests.containers.load import KINDS, PATIENCE_SECONDS, Load, Made, Stored, same

HEALTHY_SECONDS = 150.0
AFTERWARDS_SECONDS = 2.0
# Files read and compared at once.
AT_ONCE = 8


@dataclass(slots=True)
class Row:
    """One hurt of one container: the calls that were under way or began meanwhile."""

    service: str
    hurt: str
    seconds: float
    recovered_seconds: float
    calls: Sequence[Made] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What clients that repeat were told in the end, and what was not whole afterwards."""
        told = [f"{one.kind}: {one.error}" for one in self.calls if one.error]
        return [*told, *self.problems]


async def hurt_one(containers: Containers, load: Load, service: str, hurt: Hurt) -> Row:
    """Hurt a container, undo it, and wait until it and all calls are well again."""
    began = time.monotonic()
    await asyncio.to_thread(hurt.begin, containers.id_of(service))
    await asyncio.sleep(hurt.seconds)
    await asyncio.to_thread(hurt.end, containers.id_of(service))
    undone = time.monotonic()
    problems = []
    try:
        await asyncio.to_thread(containers.wait_healthy, HEALTHY_SECONDS)
        await load.settled()
    except (AssertionError, TimeoutError) as error:
        problems.append(f"not well again: {error!r}")
    recovered = time.monotonic() - undone
    await asyncio.sleep(AFTERWARDS_SECONDS)
    calls = [one for one in load.made if one.began_at + one.seconds >= began]
    return Row(service, hurt.name, hurt.seconds, recovered, calls, problems)


async def require_whole(client: Client, files: Iterable[Stored]) -> None:
    """Every element is consistent, what was acknowledged is there, and the index has it all."""
    for element_id in await client.element_ids():
        report = await client.cache(element_id).check()
        assert report.is_consistent, f"{element_id}: {report}"
    turn = asyncio.Semaphore(AT_ONCE)

    async def compare(one: Stored) -> None:
        async with turn:
            if one.deleted:
                return
            try:
                await same(client, one)
                if one.description:
                    assert (await client.stat(one.file_id)).description == one.description
            except Exception:
                # It may have been deleted meanwhile; nothing else is an excuse.
                if not one.deleted:
                    raise

    await asyncio.gather(*(compare(one) for one in list(files)))
    status = await client.sync_status()
    assert status.index_complete, status


async def require_all_found(client: Client, load: Load) -> None:
    """The index has each file that is there, and none that is not."""
    wanted = {one.file_id for one in load.stored.values() if not one.deleted}
    found = {one.file.file_id async for one in client.search_all("", page_size=1000)}
    assert found >= wanted, f"the index lacks {sorted(wanted - found)}"
    gone = {one.file_id for one in load.stored.values() if one.deleted}
    assert not found & gone, f"the index has deleted files {sorted(found & gone)}"


def page(rows: Sequence[Row], rolling: str, *, command: str) -> str:
    """The text of docs/failures.md."""
    head = _HEAD.format(
        command=command,
        day=datetime.now(UTC).date().isoformat(),
        cores=psutil.cpu_count(),
        memory=round(psutil.virtual_memory().total / 2**30),
        patience=round(PATIENCE_SECONDS),
        calls=sum(len(row.calls) for row in rows),
        failed=sum(len(row.failures) for row in rows),
        hurts=len(rows),
        doubt="" if any(row.hurt == "restarted" for row in rows) else _CUT_SHORT,
    )
    columns = ["container", "what happened", *KINDS, "well after"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *map(_line, rows)]
    return "\n".join([head, *lines, _PROMISES, *textwrap.wrap(rolling, 98), ""])


def _line(row: Row) -> str:
    what = f"{row.hurt}, {row.seconds:.0f} s" if row.seconds else row.hurt
    cells = [_cell([one for one in row.calls if one.kind == kind]) for kind in KINDS]
    return f"| {row.service} | {what} | {' | '.join(cells)} | {row.recovered_seconds:.0f} s |"


def _cell(calls: Sequence[Made]) -> str:
    if not calls:
        return "–"
    repeated = sum(one.tries > 1 for one in calls)
    failed = sum(bool(one.error) for one in calls)
    text = f"{len(calls)}: {max(one.seconds for one in calls):.1f} s"
    if repeated:
        text += f", {repeated} r"
    return f"{text}, **{failed} failed**" if failed else text


def write_page(path: Path, rows: Sequence[Row], rolling: str, *, command: str) -> None:
    """Write the page."""
    path.write_text(page(rows, rolling, command=command))


_HEAD = """\
# What happens when a container is killed, paused, cut off or restarted

Made by `{command}` on {day}, on a machine of {cores} cores and {memory} GiB on which
all containers, the clients and other work ran. Do not edit: the next run writes it again.

Two admins, two ingests, two queries, three elements on S3, one PostgreSQL, one Valkey and one S3
(`compose.several.yaml`). Four clients upload, change, find, read and delete files all the time;
each repeats what was UNAVAILABLE or late, for {patience} s at most. One container after the
other is hurt: killed, and started again after some seconds; paused; cut off, its cable pulled out
and put back; restarted as an operator does. A pause and a cut last longer than any keepalive.
After each, all containers are healthy, the check of every element is clean, every file that was
acknowledged since the hurt before is read and compared, and the index is complete; at the end of
the run all files are read again, and the index has them and none that was deleted.
{doubt}
**{hurts} hurts, {calls} calls, of which {failed} failed for clients that repeat.**

In each cell: how many calls, the longest in seconds, and *r*, how many of them the caller had to
repeat (what the library and gRPC repeat by themselves is not counted). *Well after*: seconds from
the end of the hurt until all containers were healthy and each kind of call had succeeded once more;
a client's round through all kinds takes four by itself.
"""

_CUT_SHORT = """\

This run was ended before its end: containers were restarted all in turn, which is told below, and
not one by one, and the last look at all files was not taken.
"""

_PROMISES = """
## What that means

- **admin, ingest, query**: of two, one may be gone. What was under way at it is repeated on the
  other one; a silent one is left after 6 s (admin, query) or 22 s (ingest: it takes uploads, which
  a slow line may hold up that long).
- **an element**: uploads go to the next one. What only this element can answer, the bytes of its
  files and changes of them, is UNAVAILABLE until it is back, and succeeds then; searches and all
  other files do not wait.
- **PostgreSQL**: descriptions and bytes of files go on, from the sidecars; what writes, and what
  query does, is UNAVAILABLE, and succeeds when it is back.
- **Valkey**: uploads, changes, reads and searches go on; manual cache operations are UNAVAILABLE.
- **S3**: searches and descriptions go on from the tables; bytes are UNAVAILABLE until it is back.

## A rolling restart
"""

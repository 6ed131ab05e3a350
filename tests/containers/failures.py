"""Hurting one container after the other under load, and the table of what came of it."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil

from artstore.v1.cache_pb2 import ConsistencyReport
from artstore_client import Client, Unavailable
from tests.containers.hurts import Containers, Hurt
from tests.containers.load import KINDS, PATIENCE_SECONDS, Load, Made, Stored, same

HEALTHY_SECONDS = 150.0
# Longer than a lock of Valkey is held by nobody.
LOCK_SECONDS = 40.0
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


@asynccontextmanager
async def hurting(containers: Containers, service: str, hurt: Hurt) -> AsyncIterator[None]:
    """A container that is hurt as long as the block lasts, however that ends."""
    container = containers.id_of(service)
    await asyncio.to_thread(hurt.begin, container)
    try:
        yield
    finally:
        await asyncio.to_thread(hurt.end, container)


async def hurt_one(containers: Containers, load: Load, service: str, hurt: Hurt) -> Row:
    """Hurt a container, undo it, and wait until it and all calls are well again."""
    began = time.monotonic()
    async with hurting(containers, service, hurt):
        await asyncio.sleep(hurt.seconds)
    undone = time.monotonic()
    outcomes = await asyncio.gather(
        asyncio.to_thread(containers.wait_healthy, HEALTHY_SECONDS),
        load.settled(),
        return_exceptions=True,
    )
    problems = []
    for outcome in outcomes:
        if isinstance(outcome, AssertionError | TimeoutError):
            problems.append(f"not well again: {outcome!r}")
        elif isinstance(outcome, BaseException):
            raise outcome
    recovered = time.monotonic() - undone
    calls = [one for one in load.made if one.began_at + one.seconds >= began]
    return Row(service, hurt.name, hurt.seconds, recovered, calls, problems)


async def require_whole(client: Client, files: Iterable[Stored]) -> None:
    """Every element is consistent, what was acknowledged is there, and the index has it all."""
    for element_id in await client.element_ids():
        report = await _checked(client, element_id)
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


async def _checked(client: Client, element_id: str) -> ConsistencyReport:
    """The element's report, asked for again where the connection to it died with the hurt."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            # A lock whose giving back got lost with its connection is held until it expires.
            return await client.cache(element_id).check(wait_seconds=LOCK_SECONDS)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)


async def require_all_found(client: Client, load: Load) -> None:
    """The index has each file that is there, and none that is not."""
    wanted = {one.file_id for one in load.stored.values() if not one.deleted}
    found = {one.file.file_id async for one in client.search_all("", page_size=1000)}
    assert found >= wanted, f"the index lacks {sorted(wanted - found)}"
    gone = {one.file_id for one in load.stored.values() if one.deleted}
    assert not found & gone, f"the index has deleted files {sorted(found & gone)}"


@dataclass(frozen=True, slots=True)
class Promise:
    """What clients may count on when one of these containers is hurt, however.

    Attributes:
        services: containers that it is about.
        kinds: calls that it is about, all of which also succeed.
        seconds: that the longest of them may take; less than a hurt lasts that is silent, so that
            calls which only wait for its end break the promise. The machine has other work.
        text: the promise in words.
    """

    services: Sequence[str]
    kinds: Sequence[str]
    seconds: float
    text: str

    def longest(self, rows: Iterable[Row]) -> float:
        """Seconds of the longest call that it is about, 0 if there was none."""
        calls = [one for row in rows if row.service in self.services for one in row.calls]
        return max((one.seconds for one in calls if one.kind in self.kinds), default=0.0)


UPLOADS = ("upload", "resumable upload")
PROMISES = (
    Promise(
        ("admin", "admin-2", "query", "query-2"),
        KINDS,
        12.0,
        "**one of two admins or queries**: no call waits for it",
    ),
    Promise(
        ("ingest", "ingest-2"),
        [kind for kind in KINDS if kind not in UPLOADS],
        12.0,
        "**one of two ingests**: nothing but uploads notices",
    ),
    Promise(
        ("ingest", "ingest-2"),
        UPLOADS,
        35.0,
        "**one of two ingests**: uploads that it was taking are repeated on the other one, once it"
        " is known to be silent",
    ),
    Promise(
        ("se-01", "se-02", "se-03"),
        ("search",),
        12.0,
        "**an element**: searches do not wait for it",
    ),
    Promise(
        ("postgres",),
        ("stat", "download"),
        12.0,
        "**PostgreSQL**: descriptions and bytes come from the elements all the same",
    ),
    Promise(("valkey",), KINDS, 12.0, "**Valkey**: no call waits for it"),
    Promise(
        ("s3",),
        ("stat", "search"),
        12.0,
        "**S3**: descriptions and searches come from the tables all the same",
    ),
)


def broken(rows: Sequence[Row]) -> list[str]:
    """The promises that these rows do not keep."""
    return [
        f"{promise.text}: {promise.longest(rows):.1f} s, not {promise.seconds:.0f} s at most"
        for promise in PROMISES
        if promise.longest(rows) > promise.seconds
    ]


def page(rows: Sequence[Row], rolling: str, *, wanted: int, looked: bool, command: str) -> str:
    """The text of docs/failures.md.

    Args:
        rows: what was hurt.
        rolling: what came of the rolling restart.
        wanted: how many hurts there are in a whole run.
        looked: all files were read and searched at the end.
        command: makes the page.
    """
    head = _HEAD.format(
        command=command,
        day=datetime.now(UTC).date().isoformat(),
        cores=psutil.cpu_count(),
        memory=round(psutil.virtual_memory().total / 2**30),
        patience=round(PATIENCE_SECONDS),
        calls=sum(len(row.calls) for row in rows),
        failed=sum(bool(one.error) for row in rows for one in row.calls),
        hurts=f"{len(rows)} hurts" if len(rows) == wanted else f"{len(rows)} of {wanted} hurts",
        looked=_LOOKED if looked else "",
    )
    columns = ["container", "what happened", *KINDS, "well after"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *map(_line, rows)]
    kept = [line for promise in PROMISES for line in _kept(promise, rows)]
    return "\n".join(
        [head, *lines, _KEPT, *kept, "\n## A rolling restart\n", *textwrap.wrap(rolling, 98), ""]
    )


def _kept(promise: Promise, rows: Sequence[Row]) -> list[str]:
    longest = promise.longest(rows)
    but = "" if longest <= promise.seconds else "**not kept**, "
    text = f"- {promise.text}: {promise.seconds:.0f} s at most, {but}the longest {longest:.1f} s."
    return textwrap.wrap(text, 98, subsequent_indent="  ")


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


_HEAD = """\
# What happens when a container is killed, paused, cut off or restarted

Made by `{command}`
on {day}, on a machine of {cores} cores and {memory} GiB on which all containers and the clients
ran. Do not edit: the next run writes it again.

Two admins, two ingests, two queries, three elements on S3, one PostgreSQL, one Valkey and one S3
(`compose.several.yaml`). Four clients upload, change, find, read and delete files all the time;
each repeats what was UNAVAILABLE or late, for {patience} s at most. One container after the other
is hurt: killed, and started again after some seconds; restarted by `docker restart`; paused; cut
off, its network taken away and given back. A pause and a cut last longer than it takes to give up
who is silent: 22 s for what takes uploads, 15 s for a session of PostgreSQL, less for all others.
After each, all containers are healthy, the check of every element is clean, every file that was
acknowledged since the hurt before is read and compared, and the index is complete.
{looked}
**{hurts}, {calls} calls, of which {failed} failed for clients that repeat.**

In each cell: how many calls, the longest in seconds, and *r*, how many of them the caller had to
repeat (what the library and gRPC repeat by themselves is not counted). *Well after*: seconds from
the end of the hurt until all containers were healthy, each kind of call had succeeded once more and
no call was under way that began before; a client's round through all kinds takes four by itself.
"""

_LOOKED = """\
At the end of the run all files were read again, and the index had them and none that was deleted.
"""

_KEPT = """
## What clients may count on

The run fails if one of these does not hold. Each is about one container that is hurt, in whichever
of the four ways, and says how long a call may take, all repeats included.
"""

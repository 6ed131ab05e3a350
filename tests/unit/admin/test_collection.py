"""A collection against elements that keep the rules: it takes all that may go and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from admin_server.collection.candidates import Candidate
from admin_server.collection.collection import Order, Reason, Tally
from admin_server.collection.collector import Asking, Collector
from admin_server.collection.plan import after
from admin_server.life.homes import OnRecord, home_is_changing
from admin_server.life.looking import Looked
from admin_server.life.next_steps import Collect, Collected, Copy, CopyState, Seen, Terms
from mesh.errors import Aborted, ArtStoreError, FailedPrecondition, Unavailable
from mesh.operations import Operation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SIZE = 5
ELEMENTS = ("se-01", "se-02", "se-03")
NOTHING = OnRecord(read_at=NOW, sent=None, waits=False, transfer=None)
HAVE_BYTES = {CopyState.ACTIVE, CopyState.COPY, CopyState.INCOMING, CopyState.MOVED}
HOME = Copy(
    element_id="se-01",
    state=CopyState.ACTIVE,
    home_since=1,
    revision=1,
    digest="home",
    updated_at=NOW,
    text=b"",
    sha256="same",
)

days = st.integers(-60, 60).map(lambda count: NOW + count * DAY)


@st.composite
def copies(draw: st.DrawFn) -> dict[str, Copy]:
    """What a file has on some of the elements."""
    found = {}
    for element_id in draw(st.sets(st.sampled_from(ELEMENTS), min_size=1)):
        state = draw(st.sampled_from([one for one in CopyState if one is not CopyState.ERASED]))
        has_bytes = state in HAVE_BYTES or (state is CopyState.DELETED and draw(st.booleans()))
        found[element_id] = Copy(
            element_id=element_id,
            state=state,
            home_since=draw(st.integers(1, 3)),
            revision=draw(st.integers(1, 3)),
            digest=f"{element_id} 0",
            updated_at=draw(days),
            text=b"text",
            moved_to="se-01" if state in (CopyState.MOVED, CopyState.GONE) else "",
            expires_at=draw(st.none() | days),
            bytes_present=has_bytes,
            sha256="same",
            legal_hold=state in HAVE_BYTES and draw(st.booleans()),
        )
    return found


class Elements:
    """Files on elements that take a step only as it was decided; users change them in between."""

    def __init__(self, files: Sequence[dict[str, Copy]], silent: frozenset[str]) -> None:
        self.files = {str(number): dict(file) for number, file in enumerate(files)}
        self.silent = silent
        self.taken: list[tuple[str, Collect]] = []
        self.changed_before: set[int] = set()

    async def slices(self, terms: Terms, now: datetime) -> AsyncIterator[Sequence[Candidate]]:
        yield [Candidate(file_id, SIZE) for file_id in self.files]

    def seen(self, file_id: str) -> Seen:
        there = [one for name, one in self.files[file_id].items() if name not in self.silent]
        return Seen(
            copies=tuple(there),
            answered=frozenset(ELEMENTS) - self.silent,
            silent=self.silent,
            everybody=not self.silent,
        )

    async def look(self, file_id: str) -> Looked:
        await asyncio.sleep(0)
        return Looked(
            file_id=file_id,
            seen=self.seen(file_id),
            files={},
            on_record=NOTHING,
            decided_at=NOW,
            began=time.monotonic(),
        )

    async def take(self, step: Collect, looked: Looked) -> None:
        """What an element does: it looks again, and refuses what differs, is held or has no end."""
        await asyncio.sleep(0)
        file = self.files[looked.file_id]
        if len(self.taken) in self.changed_before and step.element_id in file:
            one = file[step.element_id]
            file[step.element_id] = replace(one, digest=f"{one.digest}+", legal_hold=True)
        there = file.get(step.element_id)
        if there is None or there.digest != step.digest:
            raise Aborted("another one", reason="REVISION_CONFLICT")
        is_let_go = step.step is Collected.TO_GONE and (
            there.state is not CopyState.COPY or step.read_back
        )
        if there.legal_hold and not is_let_go:
            raise FailedPrecondition("held", reason="LEGAL_HOLD")
        self.taken.append((looked.file_id, step))
        left = after(self.seen(looked.file_id), step, NOW).copies
        kept = {one.element_id: one for one in left}
        if step.element_id in kept:
            changed = replace(kept[step.element_id], digest=f"{there.digest}'")
            file[step.element_id] = changed
        else:
            del file[step.element_id]


class NoLeftovers:
    async def collect(self, operation: Operation, order: Order, tally: Tally) -> None:
        """Every blob is a file's."""


async def run(
    elements: Elements, order: Order, settle: Callable[[str], Awaitable[None]] | None = None
) -> Tally:
    async def all_read() -> Sequence[str]:
        return ()

    collector = Collector(
        cast(Any, elements),
        Asking(elements.look, elements.take, settle),
        cast(Any, NoLeftovers()),
        unread=all_read,
        terms=Terms(),
        now=lambda: NOW,
        per_second=0,
    )
    tally = Tally()
    await collector.run(Operation("run", "collection"), order, tally)
    return tally


def told(tally: Tally) -> tuple[Any, ...]:
    return tally.examined, tally.collected, tally.freed_bytes, tally.errors, tally.counts


some_files = st.lists(copies(), min_size=1, max_size=6)
some_silent = st.frozensets(st.sampled_from(ELEMENTS), max_size=1)


@settings(max_examples=40, deadline=None)
@given(some_files, some_silent)
def test_a_dry_run_takes_nothing_and_equals_the_run_that_follows(
    files: list[dict[str, Copy]], silent: frozenset[str]
) -> None:
    elements = Elements(files, silent)
    before = {file_id: dict(file) for file_id, file in elements.files.items()}
    dry = asyncio.run(run(elements, Order(dry_run=True)))
    assert elements.files == before
    assert told(asyncio.run(run(elements, Order()))) == told(dry)


@settings(max_examples=40, deadline=None)
@given(some_files, some_silent, st.sets(st.integers(0, 4)))
def test_what_is_held_needed_or_not_yet_over_stays_whatever_changes_meanwhile(
    files: list[dict[str, Copy]], silent: frozenset[str], changed: set[int]
) -> None:
    elements = Elements(files, silent)
    elements.changed_before = changed
    asyncio.run(run(elements, Order()))
    for file_id, step in elements.taken:
        was = files[int(file_id)][step.element_id]
        assert step.element_id not in silent
        if step.step is Collected.TO_DELETED:
            assert was.expires_at is not None and was.expires_at + DAY <= NOW
            assert not was.legal_hold
        elif step.step is Collected.PURGE:
            assert not silent
            assert all(not one.bytes_present for one in files[int(file_id)].values()) or any(
                taken.step is Collected.TO_GONE for name, taken in elements.taken if name == file_id
            )
        else:
            homes = {CopyState.ACTIVE, CopyState.DELETED}
            assert any(
                one.state in homes
                for name, one in files[int(file_id)].items()
                if name != step.element_id
            )


def test_a_held_copy_too_many_is_foretold_and_goes_once_its_homes_bytes_were_read() -> None:
    home = replace(HOME, legal_hold=True)
    held = replace(home, element_id="se-02", state=CopyState.COPY, digest="held")
    for order in (Order(dry_run=True), Order()):
        for legal_hold in (True, False):
            one, other = replace(home, legal_hold=legal_hold), replace(held, legal_hold=legal_hold)
            elements = Elements([{"se-01": one, "se-02": other}], frozenset())
            (count,) = asyncio.run(run(elements, order)).counts
            assert (count.reason, count.count) == (Reason.SURPLUS, 1)
            assert [step.read_back for _, step in elements.taken] == (
                [] if order.dry_run else [legal_hold]
            )


def test_a_file_counts_once_for_each_reason_and_its_bytes_as_often_as_they_go() -> None:
    def stub(element_id: str) -> Copy:
        return replace(tombstone, element_id=element_id, state=CopyState.GONE, digest=element_id)

    tombstone = Copy(
        element_id="se-01",
        state=CopyState.DELETED,
        home_since=1,
        revision=2,
        digest="tombstone",
        updated_at=NOW - 40 * DAY,
        text=b"",
        bytes_present=False,
    )
    file = {"se-01": tombstone, "se-02": stub("se-02"), "se-03": stub("se-03")}
    elements = Elements([file], frozenset())
    tally = asyncio.run(run(elements, Order()))
    (count,) = tally.counts
    assert (count.reason, count.count, count.size_bytes) == (Reason.TRASH, 1, 0)
    assert [step.element_id for _, step in elements.taken][-1] == "se-01"
    assert not elements.files["0"]


def test_what_was_taken_from_a_file_counts_though_its_settling_fails() -> None:
    left = replace(
        HOME, state=CopyState.MOVED, moved_to="se-02", digest="left", updated_at=NOW - 40 * DAY
    )
    home = replace(HOME, element_id="se-02", home_since=2)
    copy = replace(HOME, element_id="se-03", state=CopyState.COPY, digest="copy")

    async def settle(file_id: str) -> None:
        raise Unavailable("se-02 does not answer", reason="ELEMENT_UNAVAILABLE")

    elements = Elements([{"se-01": left, "se-02": home, "se-03": copy}], frozenset())
    tally = asyncio.run(run(elements, Order(), settle))
    assert [(count.reason, count.count) for count in tally.counts] == [(Reason.MOVED, 1)]
    assert tally.errors == ["file 0: se-02 does not answer"]


def test_a_file_that_is_on_its_way_to_another_home_is_left_to_whoever_moves_it() -> None:
    two_homes = {"se-01": HOME, "se-02": replace(HOME, element_id="se-02", home_since=2)}

    def settled(error: ArtStoreError) -> Sequence[str]:
        async def settle(file_id: str) -> None:
            raise error

        return asyncio.run(run(Elements([two_homes], frozenset()), Order(), settle)).errors

    assert settled(home_is_changing("0")) == []
    assert settled(Aborted("look again", reason="STALE")) == []
    assert settled(Unavailable("se-02 does not answer", reason="ELEMENT_UNAVAILABLE")) == [
        "file 0: se-02 does not answer"
    ]

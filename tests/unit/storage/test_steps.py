"""Steps on a file that is here: what each refuses, and that one that was taken stays taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.errors import Aborted, DataLoss, FailedPrecondition, NotFound, Unavailable
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.modes import Mode
from storage_server.domain.origin import Cause
from storage_server.domain.sidecar import FileState, Sidecar, decode, encode
from storage_server.element.clock import Clock
from storage_server.steps.taking import Decided
from tests.unit.storage.stepping import CONTENT, LATER, Pair, a_minute_at_the_lock

ACTIVE, COPY, DELETED, GONE, INCOMING, MOVED = (
    FileState.ACTIVE,
    FileState.COPY,
    FileState.DELETED,
    FileState.GONE,
    FileState.INCOMING,
    FileState.MOVED,
)
AT = datetime(2026, 5, 1, tzinfo=UTC)
Take = Callable[[Pair, Decided], Awaitable[Any]]


@pytest.fixture
async def pair() -> Pair:
    return await Pair.made(description="of the user")


def later_home(pair: Pair) -> Sidecar:
    return replace(pair.home, home_since=LATER, revision=7, description="later")


async def mark_moved(pair: Pair, step: Decided) -> Any:
    return await pair.here.steps.moving.mark_moved(step, "se-01")


async def activate(pair: Pair, step: Decided) -> Any:
    return await pair.activate(step, revision=9, finalized_at=AT)


async def sync(pair: Pair, step: Decided) -> Any:
    return await pair.here.steps.moving.sync(step, later_home(pair))


async def to_gone(pair: Pair, step: Decided) -> Any:
    return (await pair.here.steps.collecting.to_gone(step, "se-01")).view


async def to_deleted(pair: Pair, step: Decided) -> Any:
    return (await pair.here.steps.collecting.to_deleted(step)).view


async def to_copy(pair: Pair, step: Decided) -> Any:
    return (await pair.here.steps.collecting.to_copy(step)).view


EXPIRED = {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}
# Step, the state that it starts from with what is special of it, and the state it ends in.
STEPS: dict[str, tuple[Take, FileState, dict[str, Any], FileState]] = {
    "MarkMoved": (mark_moved, ACTIVE, {}, MOVED),
    "Activate an incoming one": (activate, INCOMING, {}, ACTIVE),
    "Activate a copy": (activate, COPY, {}, ACTIVE),
    "Activate what was moved": (activate, MOVED, {"moved_to": "se-01"}, ACTIVE),
    "SyncCopy": (sync, COPY, {}, COPY),
    "SyncCopy of an incoming one": (sync, INCOMING, {}, INCOMING),
    "SyncCopy of an earlier home": (sync, ACTIVE, {"description": "mine alone"}, COPY),
    "TO_GONE of what was moved": (to_gone, MOVED, {"moved_to": "se-01"}, GONE),
    "TO_GONE of a copy": (to_gone, COPY, {}, GONE),
    "TO_GONE of an incoming one": (to_gone, INCOMING, {}, GONE),
    "TO_DELETED": (to_deleted, ACTIVE, EXPIRED, DELETED),
    "TO_COPY": (to_copy, ACTIVE, {}, COPY),
}
every_step = pytest.mark.parametrize("name", STEPS)


async def begun(pair: Pair, name: str) -> tuple[Take, FileState]:
    take, state, changes, end = STEPS[name]
    await pair.settled(state, **changes)
    return take, end


@every_step
@pytest.mark.parametrize("mode", Mode)
async def test_it_is_taken_in_every_mode_and_told_as_admins(
    pair: Pair, name: str, mode: Mode
) -> None:
    take, end = await begun(pair, name)
    pair.here.element.mode = mode
    told = len(pair.here.tables.feed)
    view = await take(pair, pair.step())
    assert view.sidecar == pair.sidecar
    assert view.sidecar.state is end
    pair.agrees()
    (change,) = pair.here.tables.feed[told:]
    assert change.origin is not None
    assert (change.origin.cause, change.origin.actor) == (Cause.TRANSFER, "admin")


@every_step
async def test_once_taken_it_is_answered_as_it_was_whatever_the_digest(
    pair: Pair, name: str
) -> None:
    take, _ = await begun(pair, name)
    first = await take(pair, pair.step())
    told = list(pair.here.tables.feed)
    second = await take(pair, pair.step(digest_of=pair.home))
    assert second.sidecar == first.sidecar
    assert second.sequence == first.sequence
    assert pair.here.tables.feed == told
    pair.agrees()


@every_step
async def test_on_another_sidecar_it_is_refused(pair: Pair, name: str) -> None:
    take, _ = await begun(pair, name)
    before = pair.sidecar
    assert before is not None
    for seen in (replace(before, revision=before.revision + 1), None):
        with pytest.raises(Aborted) as refused:
            await take(pair, pair.step(digest_of=seen))
        assert refused.value.reason == "REVISION_CONFLICT"
    assert pair.sidecar == before


@every_step
async def test_decided_more_than_a_minute_ago_it_is_refused(pair: Pair, name: str) -> None:
    take, _ = await begun(pair, name)
    for age in (61, -6):
        with pytest.raises(Aborted) as refused:
            await take(pair, pair.step(age=age))
        assert refused.value.reason == "STALE"
    await take(pair, pair.step(age=55))


@every_step
async def test_it_is_taken_for_no_longer_than_it_says_and_a_minute_at_most(
    pair: Pair, name: str
) -> None:
    take, _ = await begun(pair, name)
    for age, life in ((3, 2), (61, 3600)):
        step = pair.step(age=age)
        until = step.freshness.decided_at + timedelta(seconds=life)
        step = replace(step, freshness=replace(step.freshness, until=until))
        with pytest.raises(Aborted) as refused:
            await take(pair, step)
        assert refused.value.reason == "STALE"
    step = pair.step(age=3)
    until = step.freshness.decided_at + timedelta(seconds=30)
    await take(pair, replace(step, freshness=replace(step.freshness, until=until)))


@every_step
async def test_having_waited_a_minute_for_the_lock_it_is_refused(
    pair: Pair, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, _ = await begun(pair, name)
    before = pair.sidecar
    await a_minute_at_the_lock(pair.here, pair.file_id, monkeypatch, take(pair, pair.step()))
    assert pair.sidecar == before


async def test_a_purge_that_waited_a_minute_for_the_lock_is_refused(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = await pair.settled(GONE, moved_to="se-01")
    purge = pair.here.steps.collecting.purge(pair.step())
    await a_minute_at_the_lock(pair.here, pair.file_id, monkeypatch, purge)
    assert pair.sidecar == stub


@every_step
async def test_of_a_file_that_is_not_here_nothing_is_taken(pair: Pair, name: str) -> None:
    take = STEPS[name][0]
    with pytest.raises(NotFound):
        await take(pair, pair.step(digest_of=None))
    with pytest.raises(Aborted):
        await take(pair, pair.step(digest_of=pair.home))


@every_step
async def test_from_another_state_it_is_refused(pair: Pair, name: str) -> None:
    take, starts, _, end = STEPS[name]
    legal = {one[1] for one in STEPS.values() if one[0] is take} | {end, starts}
    # A tombstone of two homes becomes a stub, or a copy that carries its deletion.
    legal |= {DELETED} if take in (to_gone, to_copy, sync) else set()
    for state in set(FileState) - legal - {FileState.ERASED}:
        pair = await Pair.made()
        before = await pair.settled(state, moved_to="se-03" if state in (MOVED, GONE) else "")
        with pytest.raises(FailedPrecondition):
            await take(pair, pair.step())
        assert pair.sidecar == before


async def test_a_switch_adds_one_revision_and_says_when_it_was_finalized(pair: Pair) -> None:
    await pair.settled(INCOMING)
    view = await pair.activate(revision=9, finalized_at=AT)
    assert (view.sidecar.revision, view.sidecar.home_since) == (9, LATER)
    assert (view.sidecar.finalized_at, view.sidecar.finalized_to) == (AT, "se-01")
    assert view.sequence
    assert pair.here.tables.file_count == 1


async def test_a_copy_takes_its_homes_text_and_keeps_what_only_tools_wrote(pair: Pair) -> None:
    await pair.settled(COPY, unknown='"by_tool":1')
    view = await sync(pair, pair.step())
    assert (view.sidecar.description, view.sidecar.unknown) == ("later", '"by_tool":1')
    assert (view.sidecar.home_since, view.sidecar.revision) == (LATER, 7)
    assert await pair.here.element.writing().list_aside() == []


async def test_a_copy_does_not_take_an_older_text(pair: Pair) -> None:
    await pair.settled(COPY, home_since=LATER + 1)
    with pytest.raises(FailedPrecondition):
        await sync(pair, pair.step())


async def test_a_home_of_other_bytes_is_not_followed(pair: Pair) -> None:
    await pair.settled(COPY)
    with pytest.raises(DataLoss):
        home = replace(later_home(pair), sha256="0" * 64)
        await pair.here.steps.moving.sync(pair.step(), home)


@pytest.mark.parametrize("take", [sync, to_copy])
async def test_what_an_earlier_home_said_is_kept_aside(pair: Pair, take: Take) -> None:
    mine = await pair.settled(ACTIVE, description="mine alone")
    await take(pair, pair.step())
    store = pair.here.element.writing()
    (name,) = await store.list_aside()
    assert name.startswith(pair.file_id)
    assert decode(pair.here.memory.files[f".quarantine/{name}"][0]) == mine
    assert encode(mine)


async def test_an_earlier_home_that_says_the_same_leaves_nothing_aside(pair: Pair) -> None:
    await pair.settled(ACTIVE, description="later")
    await sync(pair, pair.step())
    assert await pair.here.element.writing().list_aside() == []


async def test_it_is_not_taken_when_its_text_cannot_be_kept_aside(pair: Pair) -> None:
    mine = await pair.settled(ACTIVE, description="mine alone")
    pair.here.calls.fail("set_aside", Unavailable("silent"))
    with pytest.raises(Unavailable):
        await sync(pair, pair.step())
    assert pair.sidecar == mine


async def test_what_is_taken_away_is_told_in_bytes(pair: Pair) -> None:
    await pair.settled(MOVED, moved_to="se-01")
    collecting = pair.here.steps.collecting
    collected = await collecting.to_gone(pair.step(), "se-01")
    assert collected.freed_bytes == len(CONTENT)
    assert (await collecting.to_gone(pair.step(), "se-01")).freed_bytes == 0
    purged = await collecting.purge(pair.step())
    assert (purged.view, purged.freed_bytes) == (None, 0)
    pair.agrees()
    assert pair.here.tables.feed[-1].kind is ChangeKind.PURGED
    # Its answer may have been lost.
    assert (await collecting.purge(pair.step(digest_of=pair.home))).view is None


async def test_a_tombstone_is_purged_with_what_lies_in_the_trash(pair: Pair) -> None:
    await pair.settled(DELETED)
    assert (await pair.here.steps.collecting.purge(pair.step())).freed_bytes == len(CONTENT)
    assert pair.here.paths() == set()
    pair.agrees()


@pytest.mark.parametrize("state", [ACTIVE, COPY, INCOMING, MOVED])
async def test_what_has_its_bytes_is_not_purged(pair: Pair, state: FileState) -> None:
    before = await pair.settled(state)
    with pytest.raises(FailedPrecondition):
        await pair.here.steps.collecting.purge(pair.step())
    assert pair.sidecar == before


async def test_a_purge_is_conditional_too(pair: Pair) -> None:
    stub = await pair.settled(GONE, moved_to="se-01")
    with pytest.raises(Aborted):
        await pair.here.steps.collecting.purge(pair.step(digest_of=pair.home))
    with pytest.raises(Aborted):
        await pair.here.steps.collecting.purge(pair.step(age=61))
    assert pair.sidecar == stub


@pytest.mark.parametrize(
    ("state", "take"), [(ACTIVE, to_deleted), (COPY, to_gone)], ids=["expired", "surplus"]
)
async def test_a_held_file_stays(pair: Pair, state: FileState, take: Take) -> None:
    await pair.settled(state, legal_hold=True, **EXPIRED)
    with pytest.raises(FailedPrecondition) as refused:
        await take(pair, pair.step())
    assert refused.value.reason == "LEGAL_HOLD"
    assert pair.blob == CONTENT


async def test_a_held_copy_goes_once_the_homes_bytes_were_read_and_are_its_own(pair: Pair) -> None:
    held = await pair.settled(COPY, legal_hold=True)
    collecting = pair.here.steps.collecting
    for other in ("", "0" * 64):
        with pytest.raises(FailedPrecondition) as refused:
            await collecting.to_gone(pair.step(), "se-01", home_sha256=other)
        assert refused.value.reason == "LEGAL_HOLD"
    assert pair.blob == CONTENT
    await collecting.to_gone(pair.step(), "se-01", home_sha256=held.sha256)
    assert pair.blob is None


async def test_the_home_of_a_held_file_may_move(pair: Pair) -> None:
    await pair.settled(ACTIVE, legal_hold=True)
    await mark_moved(pair, pair.step())
    await to_gone(pair, pair.step())
    assert pair.blob is None


async def test_only_what_has_expired_by_this_clock_goes_into_the_trash(pair: Pair) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await pair.settled(ACTIVE, expires_at=soon)
    with pytest.raises(FailedPrecondition):
        await to_deleted(pair, pair.step())


@pytest.mark.parametrize("take", [to_gone, to_deleted, to_copy, "purge"])
async def test_nothing_is_collected_by_a_clock_in_doubt(pair: Pair, take: Any) -> None:
    await pair.settled(MOVED, moved_to="se-01")
    clock: Clock = pair.here.steps.moving.taking.clock
    now = clock.monotonic()
    clock.heard("PostgreSQL", datetime.now(UTC).timestamp() + 3600, asked_at=now)
    step = pair.step(age=-3600)
    with pytest.raises(Unavailable) as refused:
        if take == "purge":
            await pair.here.steps.collecting.purge(step)
        else:
            await take(pair, step)
    assert refused.value.reason == "CLOCK"
    assert pair.blob == CONTENT


@pytest.mark.parametrize("state", [INCOMING, COPY, MOVED])
@pytest.mark.parametrize("left", [None, b"some"], ids=["missing", "cut short"])
async def test_what_lacks_its_bytes_does_not_become_the_home(
    pair: Pair, state: FileState, left: bytes | None
) -> None:
    before = await pair.settled(state, moved_to="se-01" if state is MOVED else "")
    del pair.here.memory.files[pair.path]
    if left is not None:
        pair.here.memory.put(pair.path, left)
    with pytest.raises(DataLoss):
        await pair.activate()
    assert pair.sidecar == before

"""What one account's open uploads may hold of an element, and for how long without a byte."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import google_crc32c
import pytest

from mesh.errors import PermissionDenied, ResourceExhausted, Unavailable
from mesh.identity.caller import Caller, Role
from mesh.identity.limits import Limits
from storage_server.domain.allowance import Holding
from storage_server.domain.capacity import UNKNOWN_SIZE_STEP_BYTES as STEP
from storage_server.uploads.resumable_uploads import StartedUpload
from tests.support.memory_element import LONG_AGO, MemoryElement, a_header
from tests.support.origins import BY_ALICE

CAPACITY = 100 * STEP
ROOM = 99 * STEP
SHARE = ROOM // 10
NOTHING = Holding(0, 0, 0, ROOM)
BIG_ELSEWHERE = Holding(1, 80 * STEP, 80 * STEP, ROOM)
DOWN = Unavailable("se-02 does not answer")


def an_account(name: str = "alice", **limits: int) -> Caller:
    everything = frozenset({"*"})
    return Caller(name, Role.USER, everything, everything, limits=Limits(**limits))


def an_admin(namespace: str) -> Caller:
    some = frozenset({namespace})
    return Caller("root", Role.ADMIN, some, some)


ALICE, BOB = an_account(), an_account("bob")


@pytest.fixture
def element() -> MemoryElement:
    return MemoryElement(capacity_bytes=CAPACITY)


async def start(
    element: MemoryElement, size: int | None = 0, caller: Caller = ALICE, **header: Any
) -> StartedUpload:
    return await element.intake.start(a_header(size_bytes=size, **header), caller)


async def send(
    element: MemoryElement,
    opened: StartedUpload,
    data: bytes,
    offset: int = 0,
    caller: Caller = ALICE,
) -> None:
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, caller)
    try:
        await upload.write(writer, offset, data, google_crc32c.value(data))
    finally:
        await upload.end(writer)


async def refused(element: MemoryElement, size: int | None, caller: Caller = ALICE) -> str:
    before = element.space.reserved_bytes
    with pytest.raises(ResourceExhausted) as error:
        await start(element, size, caller)
    assert element.space.reserved_bytes == before
    if error.value.reason != "NO_SPACE":
        assert error.value.retry_after_seconds
        assert "artstore uploads" in error.value.message
    return error.value.reason


# --- how many ------------------------------------------------------------------------------


async def test_an_account_has_as_many_uploads_open_as_its_limit_says(
    element: MemoryElement,
) -> None:
    few = an_account(open_uploads=3)
    opened = [await start(element, 0, few) for _ in range(2)]
    stream = await element.intake.begin(a_header(), few, by=BY_ALICE)
    assert await refused(element, 0, few) == "TOO_MANY_UPLOADS"
    await start(element, 0, BOB)
    await stream.discard()
    await start(element, 0, few)
    await element.resumable.abort(opened[0].upload_id, opened[0].token, few)
    await start(element, 0, few)
    assert await refused(element, 0, few) == "TOO_MANY_UPLOADS"
    last = opened[1]
    await element.resumable.commit(last.upload_id, last.token, few, None, None, by=BY_ALICE)
    await start(element, 0, few)


async def test_a_repeat_opens_no_other_upload(element: MemoryElement) -> None:
    one = an_account(open_uploads=1)
    first = await start(element, 0, one, request_id="r-1")
    again = await start(element, 0, one, request_id="r-1")
    assert again.upload_id == first.upload_id


async def test_uploads_at_other_elements_count_unless_nobody_knows_them(
    element: MemoryElement,
) -> None:
    few = an_account(open_uploads=3)
    element.elsewhere.known = {"se-02": Holding(3, 0, 0, ROOM)}
    assert await refused(element, 0, few) == "TOO_MANY_UPLOADS"
    element.elsewhere.error = DOWN
    await start(element, 0, few)


async def test_nobody_is_asked_about_an_account_far_below_its_limit(
    element: MemoryElement,
) -> None:
    for _ in range(200):
        await start(element, 0)
    assert element.elsewhere.asked == []


# --- how much ------------------------------------------------------------------------------


async def test_within_its_share_nobody_is_asked(element: MemoryElement) -> None:
    element.elsewhere.error = DOWN
    await start(element, SHARE - STEP)
    await start(element, None)
    assert await refused(element, 1) == "UPLOAD_SHARE"
    assert element.elsewhere.asked == ["alice"]


async def test_one_upload_may_be_of_any_size_that_leaves_others_their_part(
    element: MemoryElement,
) -> None:
    assert await refused(element, ROOM) == "UPLOAD_SHARE"
    await start(element, 80 * STEP)
    assert await refused(element, 11 * STEP) == "UPLOAD_SHARE"
    await start(element, 9 * STEP)
    assert await refused(element, STEP) == "UPLOAD_SHARE"
    await start(element, None, BOB)


async def test_what_was_sent_is_not_held_against_the_account(element: MemoryElement) -> None:
    big = await start(element, 12 * STEP)
    await start(element, 9 * STEP)
    assert await refused(element, 9 * STEP) == "UPLOAD_SHARE"
    upload, _ = await element.resumable.writer(big.upload_id, big.token, ALICE)
    element.space.sent(upload.upload_id, 12 * STEP)
    await start(element, 5 * STEP)


@pytest.mark.parametrize(
    ("known", "error"),
    [({"se-02": BIG_ELSEWHERE, "se-03": NOTHING}, None), ({"se-02": NOTHING}, DOWN)],
)
async def test_a_big_upload_is_refused_where_there_is_one_elsewhere_or_might_be(
    element: MemoryElement, known: Mapping[str, Holding], error: Unavailable | None
) -> None:
    element.elsewhere.known, element.elsewhere.error = dict(known), error
    assert await refused(element, 80 * STEP) == "UPLOAD_SHARE"
    assert await refused(element, 80 * STEP) == "UPLOAD_SHARE"
    await start(element, SHARE)


async def test_what_waits_for_the_word_of_others_is_nothing_to_build_on(
    element: MemoryElement,
) -> None:
    await start(element, 5 * STEP)
    await start(element, 4 * STEP)
    asked, answer = asyncio.Semaphore(0), asyncio.Event()

    async def slow(account: str) -> Mapping[str, Holding]:
        asked.release()
        await answer.wait()
        return {"se-02": BIG_ELSEWHERE}

    element.elsewhere.holdings = slow  # type: ignore[method-assign]
    calls = [asyncio.create_task(start(element, STEP)) for _ in range(3)]
    for _ in calls:
        await asked.acquire()
    answer.set()
    endings = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in endings] == [ResourceExhausted] * 3
    assert element.space.reserved_bytes == 9 * STEP


async def test_an_account_that_was_refused_is_not_asked_about_at_each_call(
    element: MemoryElement,
) -> None:
    element.elsewhere.known = {"se-02": BIG_ELSEWHERE}
    for _ in range(20):
        assert await refused(element, 80 * STEP) == "UPLOAD_SHARE"
    assert len(element.elsewhere.asked) == 1


async def test_an_upload_of_unknown_size_is_stopped_where_the_share_ends(
    element: MemoryElement,
) -> None:
    await start(element, 50 * STEP)
    for _ in range(8):
        await start(element, None)
    stream = await element.intake.begin(a_header(), ALICE, by=BY_ALICE)
    with pytest.raises(ResourceExhausted) as error:
        await start(element, None)
    assert error.value.reason == "UPLOAD_SHARE"
    await stream.discard()


# --- lapse -----------------------------------------------------------------------------------


def age(element: MemoryElement) -> None:
    """Let all uploads have begun long ago."""
    for upload_id, row in element.tables.uploads.items():
        element.tables.uploads[upload_id] = replace(row, created_at=LONG_AGO)


async def test_room_lapses_without_a_byte_and_is_asked_for_again_at_the_next(
    element: MemoryElement,
) -> None:
    opened = await start(element, 80 * STEP)
    await element.keeping.lapse_empty()
    assert element.space.reserved_bytes == 80 * STEP
    age(element)
    await element.keeping.lapse_empty()
    assert element.space.reserved_bytes == 0
    assert element.tables.uploads[opened.upload_id].reserved_bytes == 0
    await send(element, opened, b"abc")
    assert element.space.reserved_bytes == 80 * STEP
    assert element.tables.uploads[opened.upload_id].reserved_bytes == 80 * STEP
    await element.keeping.lapse_empty()
    assert element.space.reserved_bytes == 80 * STEP


async def test_lapsed_room_that_is_gone_is_refused_and_the_upload_stays_open(
    element: MemoryElement,
) -> None:
    opened = await start(element, 80 * STEP)
    age(element)
    await element.keeping.lapse_empty()
    others = await start(element, 80 * STEP, BOB)
    with pytest.raises(ResourceExhausted) as error:
        await send(element, opened, b"abc")
    assert error.value.reason == "NO_SPACE"
    await element.resumable.abort(others.upload_id, others.token, BOB)
    await send(element, opened, b"abc")
    assert await element.resumable.progress(opened.upload_id, opened.token, ALICE) == (3, None)


async def test_a_lapsed_upload_still_counts_as_open(element: MemoryElement) -> None:
    one = an_account(open_uploads=1)
    await start(element, 100, one)
    age(element)
    await element.keeping.lapse_empty()
    assert await refused(element, 100, one) == "TOO_MANY_UPLOADS"


async def test_a_lapse_whose_answer_was_lost_is_found_out(element: MemoryElement) -> None:
    await start(element, 80 * STEP)
    age(element)
    element.catalog.lose_answer("uploads.lapse", DOWN)
    with pytest.raises(Unavailable):
        await element.keeping.lapse_empty()
    await element.keeping.lapse_empty()
    assert element.space.reserved_bytes == 0


async def test_counters_after_a_restart_are_those_on_record(element: MemoryElement) -> None:
    await start(element, 80 * STEP)
    small = await start(element, STEP)
    await send(element, small, b"abc")
    age(element)
    await element.keeping.lapse_empty()
    await start(element, 2 * STEP)
    after = MemoryElement(element.memory, element.tables, capacity_bytes=CAPACITY)
    await after.keeping.restore_room()
    held = sum(row.reserved_bytes for row in element.tables.uploads.values())
    assert after.space.reserved_bytes == element.space.reserved_bytes == held
    assert after.space.holding("alice") == element.space.holding("alice")


# --- what is refused in the middle -----------------------------------------------------------


async def test_a_start_that_is_given_up_while_others_are_asked_holds_nothing(
    element: MemoryElement,
) -> None:
    asked = asyncio.Event()

    async def silent(account: str) -> Mapping[str, Holding]:
        asked.set()
        await asyncio.Event().wait()
        return {}

    element.elsewhere.holdings = silent  # type: ignore[method-assign]
    call = asyncio.create_task(start(element, 80 * STEP))
    await asked.wait()
    assert element.reserving.holding("alice").undecided
    call.cancel()
    await asyncio.wait([call])
    assert element.reserving.holding("alice") == NOTHING


async def test_an_upload_is_aborted_by_whose_it_is_and_an_admin_without_its_token(
    element: MemoryElement,
) -> None:
    first, second = await start(element, 1), await start(element, 1)
    abort = element.resumable.abort
    refused: list[tuple[str, str, Caller, bool]] = [
        (first.upload_id, "", ALICE, False),
        (first.upload_id, "wrong", ALICE, False),
        (first.upload_id, "", BOB, True),
        (first.upload_id, first.token, BOB, True),
        (first.upload_id, first.token, BOB, False),
        (first.upload_id, first.token, an_admin("*"), False),
        (first.upload_id, "", an_admin("other"), True),
    ]
    for upload_id, token, caller, as_owner in refused:
        with pytest.raises(PermissionDenied):
            await abort(upload_id, token, caller, as_owner=as_owner)
    await abort(first.upload_id, "", ALICE, as_owner=True)
    await abort(second.upload_id, "", an_admin("*"), as_owner=True)
    assert element.tables.uploads == {}
    assert element.space.holding("alice") == NOTHING

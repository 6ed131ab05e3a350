"""What happens to a file next, for each state in which it may be seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore_client.explaining.next_steps import About, next_steps
from artstore_client.explaining.seen import Seen, Told
from tests.unit.client.explaining.pictures import (
    AR,
    DAY,
    DELETED,
    DENIED,
    HOUR,
    NOW,
    PERMANENT,
    RO,
    RW,
    a_file,
    an_element,
    seen,
    silent,
)

ENDS = NOW - 2 * HOUR + 30 * DAY
SERVED: Told[Any] = Told(lifecycle_pb2.Policy())


def steps(what: Seen, about: About) -> list[tuple[datetime | None, str]]:
    return [(step.at, step.what) for step in next_steps(what, NOW) if step.about is about]


def live(name: str = "se-01", element: dict[str, Any] | None = None, **file: Any) -> Seen:
    return seen(an_element(name, a_file(**file), **(element or {})))


def test_a_temporary_file_ends_and_stays_while_nothing_is_collected() -> None:
    ((at, told),) = steps(live(), About.RETENTION)
    assert at == ENDS
    assert told.startswith("its retention (30 days) ends; `artstore update --days` extends it")
    assert "this version of the mesh removes no expired files" in told


def test_a_temporary_file_is_collected_a_day_after_its_end_where_that_is_served() -> None:
    what = seen(an_element("se-01", a_file()), policy=SERVED)
    ends, collected = steps(what, About.RETENTION)
    assert (ends[0], collected[0]) == (ENDS, ENDS + DAY)
    assert "trash" in collected[1]


def test_who_may_not_know_whether_files_are_collected_is_told_who_does() -> None:
    what = seen(an_element("se-01", a_file()), policy=DENIED)
    assert any("an ADMIN can see" in text for _, text in steps(what, About.RETENTION))


def test_a_retention_that_has_ended_is_told_as_over() -> None:
    what = live(expires_at=NOW - DAY, created_at=NOW - 2 * DAY, retention_days=1)
    ((at, told),) = steps(what, About.RETENTION)
    assert at == NOW - DAY
    assert told.startswith("its retention (1 day) has ended; it stays readable")


def test_a_permanent_file_stays_until_it_is_deleted() -> None:
    what = live("se-03", retention_policy=PERMANENT)
    assert steps(what, About.RETENTION) == [(None, "permanent: kept until somebody deletes it")]


def test_a_held_file_has_no_end() -> None:
    what = live(legal_hold=True)
    assert steps(what, About.RETENTION) == []
    ((at, held),) = steps(what, About.HOLD)
    assert at is None
    assert "until an ADMIN lifts the hold" in held


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (RW, "nobody can delete it: se-03 is in mode rw"),
        (RO, "nobody can change or delete it: se-03 is in mode ro"),
        (AR, "nobody can change or delete it, or read its bytes: se-03 is in mode ar"),
    ],
)
def test_what_the_mode_forbids_is_told(mode: int, told: str) -> None:
    assert steps(live("se-03", {"mode": mode}), About.CHANGES) == [(None, told)]


def test_in_mode_edit_everything_may_be_done() -> None:
    assert steps(live(), About.CHANGES) == []


def test_a_closed_element_changes_nothing() -> None:
    ((_, told),) = steps(live(element={"closed": True}), About.CHANGES)
    assert told == "se-01 changes no files until it was compared with the others"


def test_a_deleted_file_leaves_the_trash_and_then_the_record() -> None:
    gone, purged = steps(live(state=DELETED, updated_at=NOW - DAY), About.TRASH)
    assert gone[0] == NOW + 6 * DAY
    assert "7 days, unless the element or its policy says otherwise" in gone[1]
    assert "`artstore restore` brings it back" in gone[1]
    assert purged[0] == NOW + 29 * DAY


def test_the_policy_says_how_long_the_trash_keeps_it() -> None:
    policy = lifecycle_pb2.Policy(trash_days=2)
    file = a_file(state=DELETED, updated_at=NOW - HOUR, deleted_at=NOW - DAY)
    gone, _ = steps(seen(an_element("se-01", file), policy=Told(policy)), About.TRASH)
    assert gone[0] == NOW + DAY
    assert "unless" not in gone[1]


def test_what_left_the_trash_is_not_promised_back() -> None:
    gone, _ = steps(live(state=DELETED, updated_at=NOW - 8 * DAY), About.TRASH)
    assert gone[0] == NOW - DAY
    assert "restore" not in gone[1]


def test_the_trash_is_emptied_in_every_mode() -> None:
    gone, _ = steps(live("se-03", {"mode": AR}, state=DELETED, updated_at=NOW - DAY), About.TRASH)
    assert gone[0] == NOW + 6 * DAY


def test_what_expired_is_brought_back_with_new_days() -> None:
    fields = {"expires_at": NOW - 2 * DAY, "updated_at": NOW - DAY}
    gone, _ = steps(live(state=DELETED, **fields), About.TRASH)
    assert "`artstore trash restore --days` brings it back" in gone[1]


def test_the_record_goes_by_a_collection_when_nothing_else_is_left() -> None:
    _, purged = steps(live(state=DELETED, updated_at=NOW - DAY), About.TRASH)
    assert "a collection takes the record" in purged[1]
    assert "once every element says that nothing else is left" in purged[1]


def test_an_expired_cache_entry_is_checked_by_the_next_read_and_cleanup_spares_the_file() -> None:
    ((at, told),) = steps(live(cache_expired=True), About.CACHE)
    assert at is None
    assert "the next read checks its cache entry" in told
    assert "never the file" in told


def test_a_fresh_cache_entry_gets_old() -> None:
    ((at, _),) = steps(live(), About.CACHE)
    assert at == NOW + 23 * HOUR


def test_a_missing_cache_entry_is_put_back() -> None:
    ((_, told),) = steps(live(cache_updated_at=None), About.CACHE)
    assert told == "the next read puts its cache entry back"


def test_a_source_goes_a_day_after_the_move() -> None:
    source = a_file(state=types_pb2.FILE_STATE_MOVED, moved_to="se-03", updated_at=NOW - HOUR)
    home = a_file(storage_element_id="se-03", home_since=1 << 41)
    what = seen(an_element("se-01", source), an_element("se-03", home))
    assert what.home is not None
    assert what.home.storage_element_id == "se-03"
    ((at, told),) = steps(what, About.COPIES)
    assert at == NOW - HOUR + DAY
    assert told == "what is left on se-01 goes, once se-03 has it"


def test_a_copy_and_what_is_on_its_way_are_told() -> None:
    what = seen(
        an_element("se-01", a_file()),
        an_element("se-02", a_file(state=types_pb2.FILE_STATE_COPY)),
        an_element("se-03", a_file(state=types_pb2.FILE_STATE_INCOMING)),
    )
    assert [text for _, text in steps(what, About.COPIES)] == [
        "se-02 holds a copy, which follows its home",
        "se-03 becomes its home when the transfer is done",
    ]


def test_of_a_file_that_nobody_knows_nothing_happens() -> None:
    assert next_steps(seen(), NOW) == ()


def test_a_silent_element_is_to_be_asked_again() -> None:
    (step,) = next_steps(seen(silent("se-02"), silent("se-03")), NOW)
    assert step.what == "ask again when se-02, se-03 can say: it may be there"


def test_what_holds_now_comes_before_what_comes_then() -> None:
    what = live("se-03", {"mode": RW})
    times = [step.at for step in next_steps(what, NOW)]
    assert times == [None, NOW + 23 * HOUR, ENDS]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("QUEUED", "is on its way from se-01 to se-03"),
        ("COPYING", "`artstore transfer show t-1`"),
        ("SWITCHING", "changes its home from se-01 to se-03 at this moment"),
        ("FAILED", "was given up: se-03 is full; `artstore transfer retry t-1` tries again"),
        ("COMPLETED", ""),
        ("CANCELLED", ""),
    ],
)
def test_a_file_on_its_way_is_told_with_what_can_be_done(state: str, said: str) -> None:
    transfer = lifecycle_pb2.Transfer(
        transfer_id="t-1",
        state=lifecycle_pb2.TransferState.Value(f"TRANSFER_STATE_{state}"),
        source_storage_element_id="se-01",
        target_storage_element_id="se-03",
        error="se-03 is full" if state == "FAILED" else "",
    )
    what = seen(an_element("se-01", a_file()), transfer=Told(transfer))
    told = [text for _, text in steps(what, About.TRANSFER)]
    assert bool(told) is bool(said)
    assert all(said in text for text in told)

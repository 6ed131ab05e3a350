"""What is told of a file from the sidecars that answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from admin_server.findings.judging import FindingKind, Found, judge
from admin_server.life.seen import Copy, CopyState, Seen

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def copy(element_id: str, state: CopyState, **values: Any) -> Copy:
    return Copy(
        **{
            "element_id": element_id,
            "state": state,
            "home_since": 1,
            "revision": 1,
            "digest": element_id,
            "updated_at": NOW,
            "text": b"",
            "sha256": "aa",
            **values,
        }
    )


def judged(*copies: Copy, wanted: int = 1, created_at: datetime = NOW, **values: Any) -> list[Any]:
    seen = Seen(
        copies=copies,
        answered=frozenset(one.element_id for one in copies) | {"se-09"},
        everybody=values.pop("everybody", True),
        **values,
    )
    found = judge(seen, copies=wanted, created_at=created_at, now=NOW)
    return [(one.kind, one.element_ids) for one in found]


HOME = copy("se-01", CopyState.ACTIVE)


def test_a_file_at_home_with_its_stubs_and_copies_is_in_order() -> None:
    assert judged(HOME) == []
    assert judged(HOME, copy("se-02", CopyState.COPY), copy("se-03", CopyState.GONE)) == []
    assert judged(copy("se-01", CopyState.DELETED, bytes_present=False)) == []
    assert judged(copy("se-01", CopyState.ERASED, sha256="")) == []
    assert judged(copy("se-01", CopyState.GONE)) == []


def test_two_homes_are_told_with_both_elements() -> None:
    other = copy("se-02", CopyState.DELETED)
    assert judged(other, HOME) == [(FindingKind.TWO_HOMES, ("se-01", "se-02"))]


def test_no_home_is_told_only_when_everybody_answered_and_none_is_being_made() -> None:
    alone = copy("se-02", CopyState.COPY)
    assert judged(alone) == [(FindingKind.NO_HOME, ("se-02",))]
    assert judged(alone, everybody=False, silent=frozenset({"se-01"})) == []
    assert judged(alone, making_home=True) == []


def test_a_sidecar_that_was_set_aside_is_told_as_that_and_not_as_homeless() -> None:
    aside = copy("se-02", CopyState.COPY, moved_to="se-02", deleted_at=NOW)
    assert judged(aside) == [(FindingKind.SET_ASIDE, ("se-02",))]


def test_copies_of_other_bytes_are_told() -> None:
    other = copy("se-02", CopyState.COPY, sha256="bb")
    assert judged(HOME, other) == [(FindingKind.COPIES_DIFFER, ("se-01", "se-02"))]
    assert judged(HOME, copy("se-02", CopyState.GONE, sha256="bb")) == []


def test_too_few_good_copies_are_told() -> None:
    good = copy("se-02", CopyState.COPY)
    bad = copy("se-03", CopyState.COPY, bytes_present=False)
    assert judged(HOME, good, wanted=2) == []
    assert judged(HOME, good, bad, wanted=3) == [(FindingKind.TOO_FEW_COPIES, ("se-01", "se-02"))]
    assert judged(HOME, wanted=2, everybody=False) == []


def test_bytes_that_nobody_has_are_told() -> None:
    without = copy("se-01", CopyState.ACTIVE, bytes_present=False)
    assert judged(without) == [(FindingKind.DAMAGED, ("se-01",))]
    assert judged(without, copy("se-02", CopyState.COPY)) == []


def test_an_erased_file_that_is_held_elsewhere_is_told() -> None:
    erased = copy("se-01", CopyState.ERASED, sha256="")
    held = copy("se-02", CopyState.COPY, legal_hold=True)
    assert (FindingKind.ERASED_AND_HELD, ("se-01", "se-02")) in judged(erased, held)


def test_a_time_that_is_days_ahead_is_told() -> None:
    assert judged(HOME, created_at=NOW + timedelta(hours=23)) == []
    assert judged(HOME, created_at=NOW + timedelta(hours=25)) == [(FindingKind.CLOCK, ("se-01",))]


def test_a_finding_says_nothing_that_a_user_wrote() -> None:
    found = judge(
        Seen(
            copies=(HOME, copy("se-02", CopyState.ACTIVE, sha256="bb")),
            answered=frozenset({"se-01", "se-02"}),
            everybody=True,
        ),
        copies=5,
        created_at=NOW + timedelta(days=9),
        now=NOW,
    )
    assert all(isinstance(one, Found) and "aa" not in one.detail for one in found)

"""Why a file is on its element, as far as what is seen now can tell."""

from __future__ import annotations

from typing import Any

import pytest

from artstore.v1 import types_pb2
from artstore_client.explaining.placement import Passed, Placement, placement
from artstore_client.explaining.seen import Verdict
from tests.unit.client.explaining.pictures import (
    DAY,
    DELETED,
    EDIT,
    GIB,
    NOW,
    PERMANENT,
    RO,
    RW,
    a_file,
    an_element,
    seen,
    silent,
)


def why(*elements: Any) -> Placement:
    found = placement(seen(*elements))
    assert found is not None
    return found


def on_second(**first: Any) -> Placement:
    return why(an_element("se-01", **first), an_element("se-02", a_file()))


def test_the_first_of_its_mode_needs_no_further_word() -> None:
    found = why(an_element("se-01", a_file()))
    assert found.reasons == (
        "temporary files go to elements in mode edit, lowest priority number first",
        "se-01 (priority 100) is the first of them",
    )
    assert (found.passed, found.like_it_now) == ((), "se-01")


def test_a_permanent_file_goes_to_rw() -> None:
    found = why(an_element("se-03", a_file(retention_policy=PERMANENT)))
    assert "permanent files go to elements in mode rw" in found.reasons[0]
    assert found.passed == ()


def test_an_element_before_it_that_takes_files_now_was_something_else_then() -> None:
    found = on_second()
    assert found.passed == (Passed("se-01", 100, "", added_later=False),)
    assert found.like_it_now == "se-01"


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ({"draining": True}, "is being drained"),
        ({"used_bytes": GIB}, "has no room for it"),
        ({"used_bytes": GIB * 99 // 100}, "has no room for it"),
        ({"fill_level": types_pb2.FILL_LEVEL_FULL}, "has no room for it"),
        (
            {"writable": False, "unwritable_reason": "its file system is read-only"},
            "takes no files: its file system is read-only",
        ),
    ],
)
def test_why_an_element_before_it_would_not_take_it_now(first: Any, told: str) -> None:
    found = on_second(**first)
    assert found.passed == (Passed("se-01", 100, told, added_later=False),)
    assert found.like_it_now == "se-02"


def test_a_silent_element_before_it_is_told_as_that() -> None:
    found = why(silent("se-01"), an_element("se-02", a_file()))
    assert found.passed == (Passed("se-01", 100, "does not answer", added_later=False),)


def test_an_element_that_was_added_after_the_file_is_told_as_that() -> None:
    assert on_second(registered_at=NOW).passed[0].added_later
    assert not on_second(registered_at=NOW - DAY).passed[0].added_later


def test_a_mode_that_has_gone_on_since_is_told() -> None:
    found = why(an_element("se-03", a_file(retention_policy=PERMANENT), mode=RO))
    assert found.reasons[1] == "se-03 is in mode ro now; it was in mode rw then"


def test_a_file_past_the_rule_is_told_as_that() -> None:
    found = why(an_element("se-03", a_file(), mode=RW))
    assert "se-03 is in mode rw: it was sent there directly" in found.reasons[0]


def test_a_finalized_file_is_where_it_was_finalized_to() -> None:
    found = why(an_element("se-03", a_file(retention_policy=PERMANENT, finalized_to="se-03")))
    assert found.reasons == ("it was finalized to se-03, an element for permanent files",)


def test_a_copy_alone_does_not_explain_its_home() -> None:
    found = why(an_element("se-03", a_file(state=types_pb2.FILE_STATE_COPY)))
    assert "where the file's home is did not answer" in found.reasons[0]


def test_the_later_of_two_homes_speaks_for_the_file() -> None:
    earlier = an_element("se-01", a_file(home_since=1, revision=9))
    later = an_element("se-03", a_file(home_since=2), mode=EDIT)
    home = seen(earlier, later).home
    assert home is not None
    assert home.storage_element_id == "se-03"


def test_a_tombstone_that_is_later_than_a_home_wins() -> None:
    gone = an_element("se-02", a_file(state=DELETED, revision=3))
    assert seen(an_element("se-01", a_file(revision=2)), gone).verdict is Verdict.DELETED


def test_of_what_nobody_has_nothing_is_said() -> None:
    assert placement(seen()) is None
    assert seen().verdict is Verdict.UNKNOWN
    assert seen(silent("se-02")).verdict is Verdict.UNSURE
    assert seen(silent("se-02"), an_element("se-01", a_file())).verdict is Verdict.LIVE

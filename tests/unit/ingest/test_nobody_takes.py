"""Three different statuses: no element of the mode, no room, and wait."""

from __future__ import annotations

from typing import Any

from ingest_server.uploads.placing import nobody_takes
from mesh.elements.seen import Mode, SeenElement
from mesh.elements.selection import choose
from mesh.errors import (
    ArtStoreError,
    FailedPrecondition,
    ResourceExhausted,
    StoreReadOnly,
    Unavailable,
)
from tests.support.elements import NOW, an_element

SILENT = NOW - 60
FULL = ResourceExhausted("full", reason="NO_SPACE")


def verdict(
    *elements: SeenElement,
    refused: list[tuple[SeenElement, ArtStoreError]] | None = None,
    mode: Mode = Mode.EDIT,
    listed: bool = True,
) -> Any:
    choice = choose(elements, mode=mode, size_bytes=5, now=NOW)
    return nobody_takes(choice, refused or [], mode=mode, size_bytes=5, listed=listed)


def test_no_element_of_the_mode_says_which_mode_is_missing_and_what_to_do() -> None:
    error = verdict(an_element(mode=Mode.OTHER), an_element("se-02"), mode=Mode.RW)
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "NO_ELEMENT"
    assert "mode rw" in error.message
    assert "ARTSTORE_MODE=rw" in error.message
    assert error.metadata == {"mode": "rw"}


def test_before_admin_was_reached_nothing_is_said_of_what_exists() -> None:
    error = verdict(listed=False)
    assert isinstance(error, Unavailable)
    assert "admin" in error.message


def test_no_room_on_any_is_no_reason_to_wait() -> None:
    error = verdict(an_element(full=True), an_element("se-02", capacity_bytes=4))
    assert isinstance(error, ResourceExhausted)
    assert error.reason == "NO_SPACE"
    assert "5 bytes" in error.message


def test_what_is_said_of_the_account_is_told_and_not_that_there_is_no_room() -> None:
    share = ResourceExhausted("abort some", reason="UPLOAD_SHARE", retry_after_seconds=60)
    error = verdict(an_element(), an_element("se-02", full=True), refused=[(an_element(), share)])
    assert error is share


def test_an_element_that_is_down_is_waited_for_even_when_the_others_are_full() -> None:
    error = verdict(an_element(full=True), an_element("se-02", heard_at=SILENT))
    assert isinstance(error, Unavailable)
    assert error.metadata == {"storage_element_ids": "se-02"}
    assert "se-02" in error.message
    assert error.retry_after_seconds > 0


def test_candidates_that_had_no_room_after_all_are_full() -> None:
    one, two = an_element(), an_element("se-02")
    assert isinstance(verdict(one, two, refused=[(one, FULL), (two, FULL)]), ResourceExhausted)
    mixed = [(one, FULL), (two, Unavailable("frozen"))]
    error = verdict(one, two, refused=mixed)
    assert isinstance(error, Unavailable)
    assert error.metadata == {"storage_element_ids": "se-02"}
    assert "frozen" in error.message


def test_a_store_that_does_not_write_is_waited_for() -> None:
    one = an_element()
    assert isinstance(verdict(one, refused=[(one, StoreReadOnly("read-only"))]), Unavailable)


def test_an_element_that_left_the_mode_a_moment_ago_is_not_waited_for() -> None:
    one, two = an_element(), an_element("se-02")
    left = FailedPrecondition("in mode ro", reason="MODE")
    assert verdict(one, refused=[(one, left)]).reason == "NO_ELEMENT"
    error = verdict(one, two, refused=[(one, left), (two, Unavailable("frozen"))])
    assert error.metadata == {"storage_element_ids": "se-02"}


def test_why_an_element_can_not_write_is_told() -> None:
    error = verdict(an_element(writable=False, unwritable_reason="its file system is read-only"))
    assert "se-01: says that it can't write now: its file system is read-only" in error.message


def test_the_element_of_a_request_id_counts_only_when_it_is_of_the_mode() -> None:
    pinned = an_element("se-09", mode=Mode.OTHER)
    error = verdict(pinned, refused=[(pinned, FailedPrecondition("ro"))])
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "NO_ELEMENT"

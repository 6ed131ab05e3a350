"""Of two homes the later is right, whoever answers first; and what counts as the same text."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin_server.life.next_steps import (
    Collect,
    Copy,
    CopyState,
    Erase,
    Seen,
    SyncCopy,
    Terms,
    next_steps,
)
from storage_server.domain.life import (
    arrived,
    deleted_at_of,
    is_set_aside,
    pair_of,
    same_bytes,
    same_text,
    synced,
)
from storage_server.domain.sidecar import FileState, Sidecar
from tests.support.sidecars import AT, a_sidecar, any_sidecar

ID = a_sidecar().file_id
ELEMENTS = ("se-01", "se-02", "se-03", "se-1", "a")
OWN: dict[str, Any] = {
    "revision": 99,
    "state": FileState.MOVED,
    "storage_filename": "elsewhere",
    "storage_path": "2020/01/01/00",
    "updated_at": AT + timedelta(days=1),
    "home_since": 99,
    "finalized_at": AT,
    "finalized_to": "se-09",
}
TEXT: dict[str, Any] = {
    "namespace": "other",
    "original_filename": "b.txt",
    "size_bytes": 99,
    "content_type": "text/x-other",
    "sha256": "cd" * 32,
    "crc32c": 99,
    "created_by": "mallory",
    "request_id": "other",
    "description": "other",
    "version": "other",
    "tags": ("other",),
    "attributes": {"other": "value"},
    "retention_days": 99,
    "expires_at": AT + timedelta(days=99),
    "legal_hold": True,
    "copies": 5,
    "updated_by": "mallory",
    "deleted_at": AT,
    "unknown": '"x":1',
}


def copies(states: st.SearchStrategy[CopyState]) -> st.SearchStrategy[list[Copy]]:
    one = st.builds(
        Copy,
        element_id=st.sampled_from(ELEMENTS),
        state=states,
        home_since=st.integers(0, 3),
        revision=st.integers(1, 3),
        digest=st.just("d"),
        updated_at=st.just(AT),
        text=st.sampled_from([b"a", b"b"]),
        deleted_at=st.sampled_from([None, AT]),
        moved_to=st.sampled_from(["", "se-01", "se-02"]),
        bytes_present=st.booleans(),
        legal_hold=st.booleans(),
    )
    return st.lists(one, unique_by=lambda copy: copy.element_id)


def seen(found: list[Copy]) -> Seen:
    return Seen(copies=tuple(found), answered=frozenset(ELEMENTS), everybody=True)


@given(copies(st.sampled_from(CopyState)), st.randoms(use_true_random=False))
def test_what_comes_next_does_not_depend_on_who_answered_first(
    found: list[Copy], random: Any
) -> None:
    steps = next_steps(seen(found), Terms(copies=3, targets=ELEMENTS), AT)
    random.shuffle(found)
    again = next_steps(seen(found), Terms(copies=3, targets=ELEMENTS), AT)
    assert sorted(map(repr, again)) == sorted(map(repr, steps))


@given(copies(st.sampled_from([CopyState.ACTIVE, CopyState.DELETED])))
def test_of_any_number_of_homes_all_but_the_latest_yield_to_it(found: list[Copy]) -> None:
    if len(found) < 2:
        return
    latest = max(
        found,
        key=lambda one: (one.home_since, one.revision, [-ord(letter) for letter in one.element_id]),
    )
    steps = next_steps(seen(found), Terms(), AT)
    assert {step.element_id for step in steps} == {
        one.element_id for one in found if one is not latest
    }
    for step in steps:
        assert isinstance(step, SyncCopy | Collect)
        if isinstance(step, SyncCopy):
            assert step.home == latest


def test_of_equal_homes_that_on_the_lower_element_id_is_right() -> None:
    (step,) = next_steps(
        seen([_copy("se-02", CopyState.ACTIVE), _copy("se-01", CopyState.ACTIVE)]), Terms(), AT
    )
    assert step.element_id == "se-02"


def _copy(element_id: str, state: CopyState) -> Copy:
    return Copy(
        element_id=element_id,
        state=state,
        home_since=1,
        revision=1,
        digest="d",
        updated_at=AT,
        text=b"",
    )


@given(copies(st.sampled_from(CopyState)))
def test_erased_is_later_than_anything(found: list[Copy]) -> None:
    if not any(one.state is CopyState.ERASED for one in found):
        return
    steps = next_steps(seen(found), Terms(), AT)
    assert all(isinstance(step, Erase) for step in steps)
    live = {
        one.element_id for one in found if one.state is not CopyState.ERASED and not one.legal_hold
    }
    assert live <= {step.element_id for step in steps}


@given(any_sidecar)
def test_a_sidecar_has_its_own_text(sidecar: Sidecar) -> None:
    assert same_text(sidecar, sidecar)
    assert same_bytes(sidecar, sidecar)


@given(any_sidecar, any_sidecar)
def test_the_same_text_is_so_both_ways(one: Sidecar, other: Sidecar) -> None:
    assert same_text(one, other) == same_text(other, one)
    mixed = replace(one, revision=other.revision, home_since=other.home_since)
    assert same_text(one, mixed)


@pytest.mark.parametrize("name", OWN)
def test_what_each_element_has_of_its_own_is_no_text(name: str) -> None:
    one = a_sidecar(file_id=ID)
    assert same_text(one, replace(one, **{name: OWN[name]}))


@pytest.mark.parametrize("name", TEXT)
def test_what_a_file_is_called_and_means_is_text(name: str) -> None:
    one = a_sidecar(file_id=ID)
    assert not same_text(one, replace(one, **{name: TEXT[name]}))


@settings(max_examples=50)
@given(any_sidecar, any_sidecar)
def test_a_copy_that_took_its_homes_text_says_the_same_and_is_as_late(
    home: Sidecar, other: Sidecar
) -> None:
    home = replace(home, state=FileState.ACTIVE, deleted_at=None, moved_to="")
    copy = replace(
        other,
        state=FileState.COPY,
        file_id=home.file_id,
        sha256=home.sha256,
        size_bytes=home.size_bytes,
        crc32c=home.crc32c,
        namespace=home.namespace,
        created_at=home.created_at,
        created_by=home.created_by,
        request_id=home.request_id,
        home_since=0,
        revision=0,
    )
    after = synced(copy, home, AT)
    assert same_text(after, home)
    assert pair_of(after) == pair_of(home)
    assert (after.storage_path, after.storage_filename) == (
        copy.storage_path,
        copy.storage_filename,
    )
    assert deleted_at_of(after) is None
    assert not is_set_aside(after)
    assert synced(after, home, AT) is after


@given(any_sidecar)
def test_what_arrives_says_the_same_and_is_as_late(home: Sidecar) -> None:
    home = replace(home, state=FileState.ACTIVE, deleted_at=None)
    there = arrived(home, FileState.INCOMING, (home.storage_path, home.storage_filename), AT)
    assert same_text(there, home)
    assert pair_of(there) == pair_of(home)

"""What each step makes of a sidecar, in every state: taken, taken already, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mesh.errors import DataLoss, FailedPrecondition
from storage_server.domain import life
from storage_server.domain.sidecar import FileState, Sidecar, decode, encode
from tests.support.sidecars import AT, a_sidecar

LATER = AT + timedelta(hours=1)
FULL = a_sidecar(
    revision=4,
    home_since=1_000,
    description="words",
    version="2",
    tags=("a",),
    attributes={"k": "v"},
    request_id="r",
    copies=3,
)
A, C, I, M, D, G, E = (  # noqa: E741
    FileState.ACTIVE,
    FileState.COPY,
    FileState.INCOMING,
    FileState.MOVED,
    FileState.DELETED,
    FileState.GONE,
    FileState.ERASED,
)
Step = Callable[[Sidecar], Sidecar]


def in_state(state: FileState) -> Sidecar:
    to = "se-09" if state in (M, G) else ""
    return replace(FULL, state=state, moved_to=to, deleted_at=AT if state is D else None)


def activated(sidecar: Sidecar) -> Sidecar:
    return life.activated(
        sidecar,
        home_since=2_000,
        revision=None,
        state=A,
        finalized_at=LATER,
        finalized_to="se-02",
        now=LATER,
    )


HOME = replace(FULL, revision=5, description="other")
STEPS: dict[str, tuple[Step, set[FileState], set[FileState]]] = {
    "marked_moved": (lambda one: life.marked_moved(one, "se-09", LATER), {A}, {M}),
    "activated": (activated, {C, I, M}, set()),
    "synced": (lambda one: life.synced(one, HOME, LATER), {A, C, I}, set()),
    "no_home_any_more": (lambda one: life.no_home_any_more(one, LATER), {A, D}, {C}),
    "set_aside": (lambda one: life.set_aside(one, "se-09", LATER), {C, I, M}, set()),
    "gone": (lambda one: life.gone(one, "se-09", LATER), {C, I, M, D}, {G}),
    "expired_to_trash": (
        lambda one: life.expired_to_trash(one, AT + timedelta(days=31)),
        {A},
        {D},
    ),
    "erased": (
        lambda one: life.erased(one.file_id, one, "carol", "law", LATER),
        set(FileState),
        {E},
    ),
    "arrived": (
        lambda one: life.arrived(FULL, I, ("folder", "name"), LATER, over=one),
        {G, M},
        {I},
    ),
}


@pytest.mark.parametrize("state", FileState)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_taken_taken_already_or_refused(name: str, state: FileState) -> None:
    step, taken, already = STEPS[name]
    one = in_state(state)
    if state in already:
        assert step(one) is one
    elif state in taken:
        after = step(one)
        assert after != one
        assert decode(encode(after)) == after
        assert step(after) is after or name in ("synced", "arrived")
    else:
        with pytest.raises(FailedPrecondition):
            step(one)


def test_a_move_counts_once() -> None:
    source = life.marked_moved(FULL, "se-02", LATER)
    target = life.arrived(FULL, I, ("folder", "name"), LATER)
    home = life.activated(
        target,
        home_since=2_000,
        revision=source.revision,
        state=A,
        finalized_at=None,
        finalized_to="",
        now=LATER,
    )
    assert (source.revision, home.revision) == (FULL.revision + 1, FULL.revision + 1)
    assert (source.updated_at, life.moved_to_of(source)) == (LATER, "se-02")
    assert life.same_text(home, FULL)


def test_nothing_becomes_the_home_that_knows_of_one_as_late() -> None:
    for known in (2_000, 2_001):
        with pytest.raises(FailedPrecondition):
            activated(replace(in_state(C), home_since=known))


def test_a_copy_of_a_deleted_home_becomes_a_deleted_home_only() -> None:
    with pytest.raises(FailedPrecondition):
        activated(replace(in_state(C), deleted_at=AT))


def test_what_was_set_aside_is_no_deleted_file() -> None:
    aside = life.set_aside(in_state(C), "se-01", LATER)
    assert aside.deleted_at == LATER
    assert life.deleted_at_of(aside) is None
    assert activated(aside).deleted_at is None


def test_an_older_tombstone_was_deleted_when_it_was_changed_last() -> None:
    assert life.deleted_at_of(replace(FULL, state=D)) == FULL.updated_at
    assert life.moved_to_of(replace(FULL, state=M, finalized_to="se-03")) == "se-03"


def test_an_older_sidecar_is_the_home_since_its_upload() -> None:
    assert life.home_since_of(a_sidecar()) == int(AT.timestamp() * 1000)


def test_a_copy_that_is_later_than_what_it_is_told_stays() -> None:
    with pytest.raises(FailedPrecondition):
        life.synced(replace(in_state(C), revision=6), HOME, LATER)


def test_an_earlier_home_that_is_told_a_later_one_becomes_its_copy() -> None:
    later = replace(HOME, home_since=2_000)
    after = life.synced(FULL, later, LATER)
    assert (after.state, after.revision, after.description) == (C, 5, "other")
    deleted = replace(later, state=D)
    assert life.deleted_at_of(life.synced(FULL, deleted, LATER)) == deleted.updated_at


@pytest.mark.parametrize("state", [C, I])
def test_a_restored_home_takes_the_text_of_what_followed_it_and_stays_the_home(
    state: FileState,
) -> None:
    after = life.synced(FULL, replace(HOME, state=state), LATER)
    assert (after.state, after.revision, after.description) == (A, 6, "other")
    deleted = life.synced(FULL, replace(HOME, state=C, deleted_at=AT), LATER)
    assert deleted.state is D
    with pytest.raises(FailedPrecondition):
        life.synced(FULL, replace(HOME, state=state, revision=FULL.revision), LATER)


def test_other_bytes_are_never_taken_for_the_same_file() -> None:
    others = replace(FULL, sha256="cd" * 32)
    with pytest.raises(DataLoss):
        life.synced(replace(others, state=C), HOME, LATER)
    with pytest.raises(DataLoss):
        life.arrived(FULL, I, ("f", "n"), LATER, over=replace(others, state=G))


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "theirs"},
        {"created_by": "mallory"},
        {"created_at": AT - timedelta(days=1)},
        {"request_id": "r-other"},
    ],
    ids="-".join,
)
def test_what_nobody_changes_is_never_taken_over_from_another_element(
    changes: dict[str, Any],
) -> None:
    others = replace(HOME, home_since=2**50, **changes)
    for state in (A, C, I):
        with pytest.raises(DataLoss):
            life.synced(in_state(state), others, LATER)
    for state in (G, M):
        with pytest.raises(DataLoss):
            life.arrived(others, I, ("f", "n"), LATER, over=in_state(state))
    with pytest.raises(FailedPrecondition):
        life.arrived(others, C, ("f", "n"), LATER, over=in_state(C))


def test_a_stub_that_says_less_of_its_origin_is_pulled_over() -> None:
    stub = replace(in_state(G), created_by="", request_id="")
    assert life.arrived(FULL, I, ("f", "n"), LATER, over=stub).request_id == FULL.request_id


def test_an_earlier_home_is_not_pulled_over_a_later_source() -> None:
    with pytest.raises(FailedPrecondition):
        life.arrived(FULL, I, ("f", "n"), LATER, over=replace(in_state(M), home_since=2_000))


def test_a_stub_forgets_the_users_words_and_the_hold() -> None:
    stub = life.gone(replace(in_state(C), legal_hold=True), "se-02", LATER)
    assert (stub.description, stub.version, stub.tags, stub.attributes) == ("", "", (), {})
    assert not stub.legal_hold
    assert (stub.moved_to, stub.request_id, stub.updated_at) == ("se-02", "r", LATER)
    assert life.pair_of(stub) == life.pair_of(FULL)


def test_a_held_home_neither_expires_nor_is_erased() -> None:
    held = replace(FULL, legal_hold=True)
    with pytest.raises(FailedPrecondition) as refused:
        life.expired_to_trash(held, AT + timedelta(days=31))
    assert refused.value.reason == "LEGAL_HOLD"
    with pytest.raises(FailedPrecondition) as refused:
        life.erased(held.file_id, held, "carol", "law", LATER)
    assert refused.value.reason == "LEGAL_HOLD"


def test_a_file_goes_into_the_trash_only_when_it_has_expired_here() -> None:
    with pytest.raises(FailedPrecondition):
        life.expired_to_trash(FULL, LATER)


def test_nothing_of_an_erased_file_is_left_but_what_says_that_it_was() -> None:
    after = life.erased(FULL.file_id, replace(FULL, namespace="team"), "carol", "law", LATER)
    assert (after.updated_by, after.description, after.updated_at) == ("carol", "law", LATER)
    assert (after.namespace, after.created_at) == ("team", FULL.created_at)
    assert (after.original_filename, after.sha256, after.size_bytes) == ("", "", 0)
    assert (after.created_by, after.request_id, after.unknown) == ("", "", "")
    assert after.storage_filename == f"erased_20260102T030405_{FULL.file_id}"
    assert decode(encode(after)) == after
    never = life.erased(FULL.file_id, None, "carol", "law", LATER)
    assert decode(encode(never)) == never

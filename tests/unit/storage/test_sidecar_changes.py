"""What users may supply, and how a sidecar changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mesh.errors import FailedPrecondition, InvalidArgument
from storage_server.domain.sidecar import FileState, RetentionPolicy, decode, encode
from storage_server.domain.sidecar_changes import tombstoned, undeleted, updated
from storage_server.domain.user_part import check_user_part
from tests.support.sidecars import AT, a_sidecar

LATER = AT + timedelta(hours=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"original_filename": ""}, "original_filename"),
        ({"original_filename": "  "}, "original_filename"),
        ({"original_filename": "ж" * 513}, "original_filename"),
        ({"original_filename": "a\0b"}, "original_filename"),
        ({"original_filename": "a\ud800"}, "original_filename"),
        ({"description": "a\0b"}, "description"),
        ({"description": "d" * 3072}, "description"),
        ({"tags": ["t"] * 1000}, "tags"),
        ({"tags": ["\0"]}, "tags"),
        ({"attributes": {"\0": ""}}, "attributes"),
        ({"attributes": {"a": "\udfff"}}, "attributes"),
        ({"attributes": {"k" * 2000: "v" * 2000}}, "attributes"),
        ({"content_type": "\0"}, "content_type"),
        ({"content_type": "c" * 256}, "content_type"),
        ({"version": "\0"}, "version"),
        ({"request_id": "\0"}, "request_id"),
        ({"namespace": ""}, "namespace"),
        ({"namespace": "*"}, "namespace"),
        ({"namespace": "a\nb"}, "namespace"),
        ({"namespace": "n" * 129}, "namespace"),
    ],
)
def test_what_no_sidecar_should_hold_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_user_part(**{"original_filename": "a.txt", **fields})
    assert refused.value.field == field


@pytest.mark.parametrize("name", ["a", "ж" * 512, "👩‍👩‍👧.png", "../../etc/passwd", "a\nb"])
def test_users_may_call_their_files_what_they_like(name: str) -> None:
    check_user_part(original_filename=name)


def test_an_update_is_one_revision_on_and_keeps_the_rest() -> None:
    sidecar = a_sidecar(unknown='"later":1')
    changed = updated(sidecar, {"description": "new", "tags": ["a"]}, LATER)
    assert (changed.revision, changed.updated_at) == (2, LATER)
    assert (changed.description, changed.tags) == ("new", ("a",))
    assert changed.unknown == sidecar.unknown
    assert changed.storage_filename == sidecar.storage_filename


def test_retention_days_move_the_expiry() -> None:
    changed = updated(a_sidecar(), {"retention_days": 7}, LATER)
    assert changed.expires_at == AT + timedelta(days=7)


@pytest.mark.parametrize("days", [0, -1, 3_651, True, "7"])
def test_a_strange_number_of_days_is_refused(days: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        updated(a_sidecar(), {"retention_days": days}, LATER)
    assert refused.value.field == "retention_days"


def test_a_file_that_an_older_version_keeps_longer_stays_so_until_it_is_told_otherwise() -> None:
    old = a_sidecar(retention_days=36_500, expires_at=AT + timedelta(days=36_500))
    assert decode(encode(old)) == old
    same = updated(old, {"retention_days": 36_500, "description": "sent back"}, LATER)
    assert (same.retention_days, same.expires_at) == (36_500, old.expires_at)
    assert updated(old, {"description": "new"}, LATER).retention_days == 36_500
    with pytest.raises(InvalidArgument):
        updated(old, {"retention_days": 36_499}, LATER)
    assert updated(old, {"retention_days": 3_650}, LATER).expires_at == AT + timedelta(days=3_650)


def test_a_permanent_file_has_no_days() -> None:
    permanent = a_sidecar(retention_policy=RetentionPolicy.PERMANENT, retention_days=None)
    with pytest.raises(InvalidArgument):
        updated(permanent, {"retention_days": 7}, LATER)


@pytest.mark.parametrize("name", ["file_id", "state", "sha256", "namespace", "revision", "nope"])
def test_the_systems_own_fields_cannot_be_updated(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        updated(a_sidecar(), {name: "x"}, LATER)
    assert refused.value.field == name


def test_an_update_that_makes_the_users_part_too_large_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        updated(a_sidecar(), {"description": "d" * 3100}, LATER)
    assert refused.value.field == "description"


def test_updated_at_never_goes_back() -> None:
    changed = updated(a_sidecar(), {"version": "2"}, AT - timedelta(days=1))
    assert changed.updated_at > AT


def test_deleting_and_undeleting_lead_back() -> None:
    tombstone = tombstoned(a_sidecar(), LATER)
    assert (tombstone.state, tombstone.revision) == (FileState.DELETED, 2)
    back = undeleted(tombstone, LATER)
    assert (back.state, back.revision) == (FileState.ACTIVE, 3)


def test_a_held_file_cannot_be_deleted() -> None:
    with pytest.raises(FailedPrecondition) as refused:
        tombstoned(a_sidecar(legal_hold=True), LATER)
    assert refused.value.reason == "LEGAL_HOLD"


def test_a_change_in_the_wrong_state_is_refused() -> None:
    tombstone = tombstoned(a_sidecar(), LATER)
    source = a_sidecar(state=FileState.MOVED, finalized_to="se-03")
    for change in (
        lambda: updated(tombstone, {}, LATER),
        lambda: updated(source, {}, LATER),
        lambda: tombstoned(tombstone, LATER),
        lambda: undeleted(source, LATER),
        lambda: undeleted(a_sidecar(), LATER),
        lambda: tombstoned(source, LATER),
    ):
        with pytest.raises(FailedPrecondition):
            change()


def test_content_type_of_an_update_is_folded_or_refused() -> None:
    changed = updated(a_sidecar(), {"content_type": "TEXT/HTML;Charset=x"}, LATER)
    assert changed.content_type == "text/html; charset=x"
    with pytest.raises(InvalidArgument) as refused:
        updated(a_sidecar(), {"content_type": "foo"}, LATER)
    assert refused.value.field == "content_type"


def test_content_type_of_an_older_version_stays_when_the_rest_is_updated() -> None:
    old = a_sidecar(content_type="Foo; \x9b")
    assert decode(encode(old)).content_type == "Foo; \x9b"
    for changes in ({"description": "new"}, {"content_type": "Foo; \x9b", "version": "2"}):
        assert updated(old, changes, LATER).content_type == "Foo; \x9b"

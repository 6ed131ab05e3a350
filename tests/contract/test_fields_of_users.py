"""What users give of a file comes whole through every place that knows it: at the upload, later."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields as attributes_of
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from artstore_client.uploads.uploads import Description
from mesh.errors import InvalidArgument
from storage_server.catalog.uploads import UploadRow
from storage_server.domain import user_part
from storage_server.domain.fields import (
    FIELDS,
    UPDATABLE,
    USER_PART,
    Kind,
    values_of,
)
from storage_server.domain.sidecar import FileState, RetentionPolicy
from storage_server.domain.sidecar_changes import updated
from storage_server.domain.user_part import check_user_part
from storage_server.rpc.messages import changes_of, header_of, open_upload
from storage_server.store.port import StagedState
from storage_server.uploads.header import Header, describes, draft
from tests.contract.every_field import (
    AT,
    BY_NAME,
    OTHER,
    WHOLE,
    Passed,
    in_message,
    lost,
    of,
)

UPLOAD_HEADER = uploads_pb2.UploadHeader.DESCRIPTOR
AT_UPLOAD = {field.name for field in FIELDS if field.at_upload}
GIVEN = {name: getattr(WHOLE, name) for name in AT_UPLOAD}
HEADER = Header(**GIVEN)


def a_header_message() -> uploads_pb2.UploadHeader:
    given = {n: in_message(UPLOAD_HEADER.fields_by_name[n], v) for n, v in GIVEN.items()}
    return uploads_pb2.UploadHeader(**given)


def test_a_header_has_what_is_given_at_an_upload() -> None:
    assert {one.name for one in attributes_of(Header)} == AT_UPLOAD
    assert AT_UPLOAD | {"copies"} == set(UPLOAD_HEADER.fields_by_name)


def as_a_header() -> Passed:
    return values_of(header_of(a_header_message()), AT_UPLOAD), GIVEN


def kept_in_the_catalog() -> Passed:
    return values_of(Header.from_bytes(HEADER.to_bytes()), AT_UPLOAD), GIVEN


def shown_while_open() -> Passed:
    row = UploadRow(
        upload_id="u",
        file_id=WHOLE.file_id,
        path="p",
        created_by="alice",
        request_id="r",
        header=HEADER.to_bytes(),
        token_hash=b"",
        reserved_bytes=0,
        stage=StagedState("", 0),
        created_at=AT,
        touched_at=AT,
    )
    shown, wanted = open_upload(row, AT).header, a_header_message()
    return values_of(shown, AT_UPLOAD), values_of(wanted, AT_UPLOAD)


def drafted() -> Passed:
    declared = {"size_bytes", "sha256"}
    made = draft(HEADER, WHOLE.file_id, "alice")
    return of(made), {name: value for name, value in GIVEN.items() if name not in declared}


def told_from_another() -> Passed:
    """Of a repeat; the request id is what it was found by."""
    sidecar = replace(WHOLE, revision=1)
    names = AT_UPLOAD - {"request_id"}
    assert describes(HEADER, sidecar)
    changed = {name: replace(HEADER, **{name: getattr(OTHER, name)}) for name in names}
    return {n: describes(one, sidecar) for n, one in changed.items()}, dict.fromkeys(names, False)


UPLOAD_PLACES: dict[str, Callable[[], Passed]] = {
    "rpc/messages: header_of": as_a_header,
    "uploads/header: to_bytes, from_bytes": kept_in_the_catalog,
    "rpc/messages: open_upload": shown_while_open,
    "uploads/header: draft": drafted,
    "uploads/header: describes": told_from_another,
}


@pytest.mark.parametrize("place", UPLOAD_PLACES)
def test_what_is_given_at_an_upload_comes_through(place: str) -> None:
    names = lost(UPLOAD_PLACES[place]())
    assert not names, f"{place} loses {', '.join(names)}"


def test_the_client_can_give_all_of_it() -> None:
    class Given:
        name, size_bytes = "", WHOLE.size_bytes

    said = {"name": WHOLE.original_filename, "permanent": True}
    options = {one.name for one in attributes_of(Description)}
    texts = {name: value for name, value in GIVEN.items() if name in options}
    sent = Description(**{**texts, **said, "retention_days": 0}).header(Given())  # type: ignore[arg-type]
    days = Description("a", retention_days=7).header(Given())  # type: ignore[arg-type]
    assert {field.name for field, _ in (*sent.ListFields(), *days.ListFields())} == AT_UPLOAD


# --- what the user may change ------------------------------------------------------------

CHANGEABLE = replace(WHOLE, state=FileState.ACTIVE, retention_policy=RetentionPolicy.TEMPORARY)


@pytest.mark.parametrize("name", sorted(UPDATABLE))
def test_a_field_that_can_be_changed_takes_its_new_value(name: str) -> None:
    value = getattr(OTHER, name)
    assert getattr(updated(CHANGEABLE, {name: value}, AT), name) == value


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - UPDATABLE))
def test_no_other_field_can_be_changed(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        updated(CHANGEABLE, {name: getattr(OTHER, name)}, AT)
    assert refused.value.field == name


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("name", sorted(UPDATABLE - {"legal_hold"}))
def test_a_request_to_change_a_field_says_its_new_value(name: str, mask: bool) -> None:
    value = getattr(WHOLE, name)
    request = storage_pb2.UpdateFileRequest(
        file=types_pb2.File(**{name: value}),
        update_mask=FieldMask(paths=[name]) if mask else None,
    )
    assert changes_of(request) == {name: value}


def test_the_users_own_text_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(inspect.signature(check_user_part).parameters) == set(USER_PART)
    # More than the names of the fields take, less than with one long value.
    monkeypatch.setattr(user_part, "MAX_USER_PART_BYTES", 200)
    check_user_part(original_filename="a")
    long = "a" * 120
    for name in USER_PART:
        value: Any = {Kind.TEXTS: (long,), Kind.MAP: {"a": long}}.get(BY_NAME[name].kind, long)
        with suppress(InvalidArgument):
            check_user_part(**{"original_filename": "a", name: value})
            pytest.fail(f"{name} is not counted")

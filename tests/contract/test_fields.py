"""A file with a value of its own in each field comes whole through every place that knows fields.

The table is `storage_server.domain.fields`; its docstring says how to add a field. A place that
loses one is named by the test that fails, the field by its message.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields as attributes_of
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from artstore_client.uploads.uploads import Description
from mesh.errors import InvalidArgument
from mesh.follower.rows import COLUMNS, CONTENT, KEY, to_file, to_row
from mesh.follower.schema import create_statements
from storage_server.catalog.rows import WRITTEN_COLUMNS, sidecar_of, to_values
from storage_server.catalog.uploads import UploadRow
from storage_server.domain import sidecar as codec
from storage_server.domain import user_part
from storage_server.domain.fields import (
    ANNOUNCED,
    FIELDS,
    FROM_ELEMENT,
    SIDECAR_COLUMNS,
    UPDATABLE,
    USER_PART,
    Field,
    Kind,
    values_of,
)
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar
from storage_server.domain.sidecar_changes import updated
from storage_server.domain.user_part import check_user_part
from storage_server.rpc.messages import changes_of, file_message, header_of, open_upload
from storage_server.store.port import Identity, StagedState
from storage_server.uploads.header import Header, describes, draft
from storage_server.writing.view import of_sidecar

BY_NAME = {field.name: field for field in FIELDS}
TOLD = [field for field in FIELDS if field.told]
AT_UPLOAD = {field.name for field in FIELDS if field.at_upload}
FILE = types_pb2.File.DESCRIPTOR
UPLOAD_HEADER = uploads_pb2.UploadHeader.DESCRIPTOR
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WORDS = {"state": FileState.MOVED, "retention_policy": RetentionPolicy.PERMANENT}
OTHER_WORDS = {"state": FileState.ACTIVE, "retention_policy": RetentionPolicy.TEMPORARY}
IDENTITY = Identity(size=900, mtime_ns=1, inode=2)


def own_value(field: Field, number: int) -> Any:
    """A value that no other field has and that is no default."""
    special = {
        "file_id": f"019b7cc2-0000-7000-8000-{number:012x}",
        "sha256": f"{number:064x}",
        "storage_path": f"2026/01/02/{number:02}",
    }
    kinds: dict[Kind, Any] = {
        Kind.TEXT: f"{field.name}/{number}" if "type" in field.name else f"{field.name}-{number}",
        Kind.WORD: (WORDS if number < 100 else OTHER_WORDS).get(field.name),
        Kind.INT32: number,
        Kind.INT64: 1_000 + number,
        Kind.TIME: AT + timedelta(seconds=number),
        Kind.FLAG: number < 100,
        Kind.TEXTS: (f"{field.name}-{number}",),
        Kind.MAP: {f"{field.name}-{number}": "value"},
    }
    return special.get(field.name, kinds[field.kind])


def a_file(first: int) -> Sidecar:
    return Sidecar(**{field.name: own_value(field, n) for n, field in enumerate(FIELDS, first)})


WHOLE, OTHER = a_file(2), a_file(102)


def of(holder: Any) -> dict[str, Any]:
    return values_of(holder, BY_NAME)


# --- what a value looks like in each place -----------------------------------------------


def in_text(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def in_column(value: Any) -> Any:
    """As asyncpg takes and gives it."""
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return value.value if isinstance(value, StrEnum) else value


def in_message(field: FieldDescriptor, value: Any) -> Any:
    """As the contract has it."""
    if isinstance(value, datetime):
        stamp = Timestamp()
        stamp.FromDatetime(value)
        return stamp
    if field.enum_type is not None:
        (number,) = (
            one.number
            for one in field.enum_type.values
            if one.name.endswith(f"_{value.value.upper()}")
        )
        return number
    return value


def a_message(sidecar: Sidecar) -> types_pb2.File:
    return types_pb2.File(
        **{
            one.name: in_message(FILE.fields_by_name[one.name], getattr(sidecar, one.name))
            for one in TOLD
        }
    )


def in_file(message: types_pb2.File) -> dict[str, Any]:
    return {
        field.name: dict(value)
        if field.name == "attributes"
        else list(value)
        if field.name == "tags"
        else value
        for field, value in message.ListFields()
    }


def a_row(sidecar: Sidecar) -> dict[str, Any]:
    """As a replica table gives it."""
    values = {one.name: in_column(getattr(sidecar, one.name)) for one in TOLD}
    return {**values, "storage_element_id": "se-01", "sequence": 1}


def the_text(sidecar: Sidecar) -> bytes:
    return orjson.dumps({name: in_text(value) for name, value in of(sidecar).items()})


# --- the places --------------------------------------------------------------------------

Values = Mapping[str, Any]
# What came of WHOLE, and what should have come.
Passed = tuple[Values, Values]


def encoded() -> Passed:
    return orjson.loads(codec.encode(WHOLE)), orjson.loads(the_text(WHOLE))


def decoded() -> Passed:
    return of(codec.decode(the_text(WHOLE))), of(WHOLE)


def digested() -> Passed:
    changed = {name: replace(WHOLE, **{name: value}) for name, value in of(OTHER).items()}
    same = codec.digest(WHOLE)
    return {name: codec.digest(one) != same for name, one in changed.items()}, dict.fromkeys(
        BY_NAME, True
    )


def known_as_written() -> Passed:
    """A sidecar whose bytes are their own digest is one that has all fields, and no other."""
    found, digest = codec.decode_with_digest(codec.encode(WHOLE))
    return {**of(found), "digest": digest}, {**of(WHOLE), "digest": codec.digest(WHOLE)}


def to_columns() -> Passed:
    values = to_values(WHOLE, IDENTITY, cache_updated_at=AT, cache_ttl_hours=24)
    # Where one value is missing, it is the first that is told.
    row = dict(zip(WRITTEN_COLUMNS, values, strict=False))
    wanted = {name: in_column(value) for name, value in of(WHOLE).items()}
    return {name: row.get(name) for name in wanted}, wanted


def from_columns() -> Passed:
    record: Any = {name: in_column(value) for name, value in of(WHOLE).items()}
    return of(sidecar_of({**record, "unknown_fields": ""})), of(WHOLE)  # type: ignore[arg-type]


def element_columns() -> Passed:
    made = import_module("storage_server.catalog.migrations.versions.0001_tables")
    revisions = Path(made.__file__ or "").parent.glob("*.py")
    added = re.compile(r"ADD COLUMN (?:IF NOT EXISTS )?(\w+) ([a-z]+(?:\[\])?)")
    later = (column for path in revisions for column in added.findall(path.read_text()))
    return {**columns_in(made._FILES), **dict(later)}, SIDECAR_COLUMNS


def message() -> Passed:
    return in_file(file_message(of_sidecar(WHOLE, 0, stale=False), "")), in_file(a_message(WHOLE))


def replica_columns() -> Passed:
    columns = columns_in(create_statements("files", "follow")[0])
    wanted = {one.name: one.kind.column_type for one in TOLD}
    return {name: columns.get(name) for name in (*KEY, *CONTENT) if name in BY_NAME}, wanted


def to_replica() -> Passed:
    row = orjson.loads(orjson.dumps(to_row(a_message(WHOLE), "se-01", 1)))
    wanted = {one.name: in_text(getattr(WHOLE, one.name)) for one in TOLD}
    times = {name for name, value in of(WHOLE).items() if isinstance(value, datetime)}
    return {
        name: in_text(datetime.fromisoformat(value)) if name in times else value
        for name, value in row.items()
        if name in BY_NAME
    }, wanted


def from_replica() -> Passed:
    found = in_file(to_file(a_row(WHOLE)))
    del found["storage_element_id"]
    return found, in_file(a_message(WHOLE))


PLACES: dict[str, Callable[[], Passed]] = {
    "sidecar: encode": encoded,
    "sidecar: decode": decoded,
    "sidecar: digest": digested,
    "sidecar: decode_with_digest": known_as_written,
    "catalog/rows: to_values": to_columns,
    "catalog/rows: sidecar_of": from_columns,
    "catalog/migrations": element_columns,
    "rpc/messages: file_message": message,
    "mesh/follower/schema": replica_columns,
    "mesh/follower/rows: to_row": to_replica,
    "mesh/follower/rows: to_file": from_replica,
}


def columns_in(statement: str) -> dict[str, str]:
    """Columns of a CREATE TABLE, with their types."""
    return dict(re.findall(r"^ {4,12}([a-z]\w*) +([a-z]+(?:\[\])?)", statement, re.MULTILINE))


def lost(passed: Passed) -> list[str]:
    found, wanted = passed
    return [name for name, value in wanted.items() if name not in found or found[name] != value]


@pytest.fixture(autouse=True)
def a_later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `schema_version` has a value that is no default."""
    monkeypatch.setattr(codec, "SCHEMA_VERSION", WHOLE.schema_version)


def test_table_record_and_contract_have_the_same_fields() -> None:
    told = {one.name for one in TOLD}
    assert set(BY_NAME) ^ {one.name for one in attributes_of(Sidecar)} == {"unknown"}
    assert (told | FROM_ELEMENT | ANNOUNCED) ^ set(FILE.fields_by_name) == set()


@pytest.mark.parametrize("place", PLACES)
def test_every_field_comes_through(place: str) -> None:
    names = lost(PLACES[place]())
    assert not names, f"{place} loses {', '.join(names)}"


def test_no_two_fields_of_the_file_are_alike() -> None:
    defaults = {one.name: one.default for one in attributes_of(Sidecar)}
    values = [str(value) for name, value in of(WHOLE).items() if BY_NAME[name].kind != Kind.WORD]
    assert len(set(values)) == len(values)
    for name, value in of(WHOLE).items():
        assert value != getattr(OTHER, name), name
        assert value != defaults[name], name


def test_followers_have_what_they_are_told() -> None:
    assert {one.name for one in TOLD} ^ {"file_id", *CONTENT} == set()
    assert set(COLUMNS) - set(columns_in(create_statements("files", "follow")[0])) == set()


def test_only_what_may_be_null_is_null_somewhere() -> None:
    record = {one.name: str(one.type) for one in attributes_of(Sidecar)}
    for field in FIELDS:
        assert field.may_be_null == ("None" in record[field.name]), field.name


def test_a_sidecar_is_written_as_ever() -> None:
    """A field that is new is left out at its default: digests of what was written before stay."""
    sidecar = Sidecar(
        file_id="019b7cc2-0000-7000-8000-000000000001",
        original_filename="a",
        storage_filename="b",
        storage_path="2026/01/02/03",
        size_bytes=5,
        sha256="ab" * 32,
        created_at=AT,
        created_by="alice",
        updated_at=AT,
        schema_version=1,
    )
    assert codec.encode(sidecar) == (
        b'{"schema_version":1,"file_id":"019b7cc2-0000-7000-8000-000000000001","revision":1,'
        b'"state":"active","namespace":"default","original_filename":"a","storage_filename":"b",'
        b'"storage_path":"2026/01/02/03","size_bytes":5,"content_type":"application/octet-stream",'
        b'"sha256":"' + b"ab" * 32 + b'","crc32c":null,'
        b'"created_at":"2026-01-02T03:04:05.678901Z","created_by":"alice",'
        b'"updated_at":"2026-01-02T03:04:05.678901Z","request_id":"","description":"",'
        b'"version":"","tags":[],"attributes":{},"retention_policy":"temporary",'
        b'"retention_days":null,"expires_at":null,"finalized_at":null,"finalized_to":"",'
        b'"legal_hold":false}'
    )


@pytest.mark.parametrize("field", [field for field in FIELDS if field.kind is Kind.WORD])
def test_every_word_of_a_closed_set_comes_through(field: Field) -> None:
    for word in type(WORDS[field.name]):
        sidecar = replace(WHOLE, **{field.name: word})
        sent = file_message(of_sidecar(sidecar, 24, stale=False), "se-01")
        assert getattr(sent, field.name) == in_message(FILE.fields_by_name[field.name], word)
        row = to_row(sent, "se-01", 1)
        assert row[field.name] == word
        assert getattr(to_file(row), field.name) == getattr(sent, field.name)


# --- what is given at an upload ----------------------------------------------------------

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
    monkeypatch.setattr(user_part, "MAX_USER_PART_BYTES", 100)
    long = "a" * 120
    for name in USER_PART:
        value: Any = {Kind.TEXTS: (long,), Kind.MAP: {"a": long}}.get(BY_NAME[name].kind, long)
        with suppress(InvalidArgument):
            check_user_part(**{"original_filename": "a", name: value})
            pytest.fail(f"{name} is not counted")

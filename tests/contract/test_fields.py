"""A file with a value of its own in each field comes whole through every place that knows fields.

The table is `storage_server.domain.fields`; its docstring says how to add a field. A place that
loses one is named by the test that fails, the field by its message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields as attributes_of
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from artstore.v1 import types_pb2
from mesh.follower.rows import COLUMNS, CONTENT, KEY, to_file, to_row
from mesh.follower.schema import create_statements
from storage_server.catalog.rows import WRITTEN_COLUMNS, sidecar_of, to_values
from storage_server.domain import sidecar as codec
from storage_server.domain.fields import (
    FIELDS,
    FROM_ELEMENT,
    SIDECAR_COLUMNS,
    Field,
    Kind,
)
from storage_server.domain.sidecar import Sidecar
from storage_server.rpc.messages import file_message
from storage_server.store.port import Identity
from storage_server.writing.view import of_sidecar
from tests.contract.every_field import (
    AT,
    BY_NAME,
    FILE,
    OTHER,
    TOLD,
    WHOLE,
    WORDS,
    Passed,
    a_message,
    a_row,
    in_column,
    in_file,
    in_message,
    in_text,
    lost,
    of,
    the_text,
)

IDENTITY = Identity(size=900, mtime_ns=1, inode=2)


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


@pytest.fixture(autouse=True)
def a_later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `schema_version` has a value that is no default."""
    monkeypatch.setattr(codec, "SCHEMA_VERSION", WHOLE.schema_version)


def test_table_record_and_contract_have_the_same_fields() -> None:
    told = {one.name for one in TOLD}
    assert set(BY_NAME) ^ {one.name for one in attributes_of(Sidecar)} == {"unknown"}
    assert (told | FROM_ELEMENT) ^ set(FILE.fields_by_name) == set()


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


def test_a_state_of_a_later_version_is_none_that_anybody_is_shown() -> None:
    sent = a_message(WHOLE)
    sent.state = 99  # type: ignore[assignment]
    row = to_row(sent, "se-01", 1)
    assert row["state"] == "unknown"
    assert to_file(row).state == types_pb2.FILE_STATE_UNSPECIFIED


@pytest.mark.parametrize("field", [field for field in FIELDS if field.kind is Kind.WORD])
def test_every_word_of_a_closed_set_comes_through(field: Field) -> None:
    for word in type(WORDS[field.name]):
        # What is at home has not gone anywhere: a follower would take it for a source.
        sidecar = replace(WHOLE, moved_to="", **{field.name: word})
        sent = file_message(of_sidecar(sidecar, 24, stale=False), "se-01")
        assert getattr(sent, field.name) == in_message(FILE.fields_by_name[field.name], word)
        row = to_row(sent, "se-01", 1)
        assert row[field.name] == word
        assert getattr(to_file(row), field.name) == getattr(sent, field.name)

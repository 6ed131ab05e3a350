"""The one table of a file's fields: what each holds, who gives it, where it goes.

A field lives in some twenty places, from the sidecar's text to the followers' columns. What costs
nothing on the way of a file is made from this table. Where a loop over it was measured to be
slower than code that names each field (encoding and decoding a sidecar, a row, a message: 1.1 to
1.4 times), that code stays, and `tests/contract/test_fields.py` (and `test_fields_of_users.py`)
sends a file with a value of its own in each field through every place: it names the field that a
place loses, and the place.

How to add a field to a file. The test fails at the first step that was left out, and
`tests/acceptance/test_upgrade.py` for tables and sidecars of an older version:

1. `protos/artstore/v1/types.proto`, `File`: the next number and a comment; `make gen`.
2. A line at the end of `FIELDS`, made by `_when_set`: at its default the field is left out of the
   text and of a row's hash, so sidecars and rows written before stay as they are.
3. `domain/sidecar.py`: an attribute of `Sidecar` with None or the empty text as its default; then
   `_set_members` and `_sidecar`.
4. `catalog/migrations/`: a revision that adds the column with the same default. Then `to_values`
   and `sidecar_of` (`catalog/rows.py`); every statement goes by `SIDECAR_COLUMNS`, which is made
   here. Once such a revision is released, the next field needs a hash of its own beside
   `row_hash`'s two, or rows that have some of these fields are stale.
5. `rpc/messages.py`: `file_message`.
6. `mesh/follower/schema.py` and `rows.py`: column, `to_row`, `to_file`; and a revision of each
   server that follows (`query_server/migrations/`, `admin_server/migrations/`) that adds the
   column, with the same default, where an older version made the table.
7. Given at upload: `UploadHeader` (`uploads.proto`), `header_of` and `open_upload`
   (`rpc/messages.py`), and `Header`, `draft`, `describes` (`uploads/header.py`). In the client:
   `Description` (`artstore_client/uploads/uploads.py`), `Client.upload` (`client.py`) and
   `artstore put` (`cli/put.py`).
   Changed by UpdateFile: `updatable` here; a value that is checked, in `domain/sidecar_changes.py`;
   `artstore update` (`artstore_client/cli/files.py`).
   Of the user's own text, which is bounded: `user_part` here and `check_user_part`.

No test sees that the client lacks a field. `bench/search.py` lists the columns of the index that it
fills: one that has no default belongs there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """What a field holds; its value is the type of its column."""

    TEXT = "text"
    WORD = "text, of a closed set"
    INT32 = "integer"
    INT64 = "bigint"
    TIME = "timestamptz"
    FLAG = "boolean"
    TEXTS = "text[]"
    MAP = "jsonb"

    @property
    def column_type(self) -> str:
        """The type of a column that holds it."""
        return self.value.partition(",")[0]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a file.

    Attributes:
        name: in the sidecar, in the row and in the message.
        may_be_null: None says that there is none; else every file has a value.
        at_upload: the header of an upload gives it, or declares it.
        user_part: free text of the user's, counted towards MAX_USER_PART_BYTES.
        updatable: a change may give it a new value.
        told: the message has it, and with that every follower.
        when_set: in the text, and in a row's hash, only when it is not at its default, which is
            None or the empty text.
    """

    name: str
    kind: Kind
    may_be_null: bool = False
    at_upload: bool = False
    user_part: bool = False
    updatable: bool = False
    told: bool = True
    when_set: bool = False


def _when_set(name: str, kind: Kind, *, may_be_null: bool = False) -> Field:
    return Field(name, kind, may_be_null=may_be_null, when_set=True)


def _given(name: str, kind: Kind = Kind.TEXT, *, updatable: bool = True) -> Field:
    return Field(name, kind, at_upload=True, user_part=True, updatable=updatable)


FIELDS = (
    Field("file_id", Kind.TEXT),
    Field("schema_version", Kind.INT32, told=False),
    Field("revision", Kind.INT64),
    Field("state", Kind.WORD),
    _given("namespace", updatable=False),
    _given("original_filename"),
    Field("storage_filename", Kind.TEXT),
    Field("storage_path", Kind.TEXT),
    Field("size_bytes", Kind.INT64, at_upload=True),
    _given("content_type"),
    Field("sha256", Kind.TEXT, at_upload=True),
    Field("crc32c", Kind.INT64, may_be_null=True),
    Field("created_at", Kind.TIME),
    Field("created_by", Kind.TEXT),
    Field("updated_at", Kind.TIME),
    _given("request_id", updatable=False),
    _given("description"),
    _given("version"),
    _given("tags", Kind.TEXTS),
    _given("attributes", Kind.MAP),
    Field("retention_policy", Kind.WORD, at_upload=True),
    Field("retention_days", Kind.INT32, may_be_null=True, at_upload=True, updatable=True),
    Field("expires_at", Kind.TIME, may_be_null=True),
    Field("finalized_at", Kind.TIME, may_be_null=True),
    Field("finalized_to", Kind.TEXT),
    Field("legal_hold", Kind.FLAG, updatable=True),
    _when_set("home_since", Kind.INT64, may_be_null=True),
    _when_set("moved_to", Kind.TEXT),
    _when_set("copies", Kind.INT32, may_be_null=True),
    _when_set("updated_by", Kind.TEXT),
    _when_set("deleted_at", Kind.TIME, may_be_null=True),
)
"""In the order of the columns over which a row's hash is taken: new ones come last."""

FROM_ELEMENT = frozenset(
    {
        "storage_element_id",
        "cache_updated_at",
        "cache_ttl_hours",
        "cache_expired",
        "cache_stale",
    }
)
"""Of the message: what the element that answers adds of itself and of its cache."""

NAMES = frozenset(field.name for field in FIELDS)

ALWAYS_WRITTEN = (
    "schema_version",
    *(one.name for one in FIELDS if one.name != "schema_version" and not one.when_set),
)
"""Names in the order in which every sidecar begins."""

WRITTEN_WHEN_SET = tuple(one.name for one in FIELDS if one.when_set)
"""Names in the order in which they follow, those of them that have a value."""

TIMES = tuple(one.name for one in FIELDS if one.kind is Kind.TIME)
WRITTEN_AS_NULL = tuple(one.name for one in FIELDS if one.may_be_null and not one.when_set)
USER_PART = tuple(one.name for one in FIELDS if one.user_part)

UPDATABLE = frozenset(one.name for one in FIELDS if one.updatable)
"""Fields that a change may name; `legal_hold` has a call of its own."""

UNKNOWN_COLUMN = "unknown_fields"
"""Holds what a sidecar has beyond FIELDS, as text."""

SIDECAR_COLUMNS: Mapping[str, str] = {
    **{one.name: one.kind.column_type for one in FIELDS if not one.when_set},
    UNKNOWN_COLUMN: Kind.TEXT.column_type,
    **{one.name: one.kind.column_type for one in FIELDS if one.when_set},
}
"""Columns that hold the sidecar, with their types, in the order of a row's hash."""


def values_of(holder: object, names: Iterable[str]) -> dict[str, Any]:
    """Some fields of a sidecar or a header, by name."""
    return {name: getattr(holder, name) for name in names}

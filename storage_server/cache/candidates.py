"""What may become of a sidecar that was read: a row, or an error of the rebuild. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from storage_server.catalog.binary_rows import encoded, encoded_written, microseconds
from storage_server.catalog.rows import to_values
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import SIDECAR_SUFFIX, home_of
from storage_server.domain.sidecar import FileState
from storage_server.domain.sidecar_written import read_written
from storage_server.sidecars.reading import InvalidAttr, validated
from storage_server.store.port import UNREADABLE_SIZE, Identity

_ID_LENGTH = 36


class Candidate(NamedTuple):
    """A valid sidecar that may become a row; `row` is that row, encoded for COPY."""

    path: str
    recorded_path: str
    file_id: str
    at_home: bool
    is_tombstone: bool
    is_erased: bool
    blob_present: bool
    row: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """When rows say that their sidecars were seen, and for how long that is believed."""

    at: datetime
    ttl_hours: int


@dataclass(frozen=True, slots=True)
class Request:
    """What another process is asked to read: see `sorted_out`."""

    paths: Sequence[str]
    without_blob: AbstractSet[str]
    seen: Seen


Answer = tuple[Sequence[tuple[object, ...]], Sequence[InvalidAttr]]
"""What became of it: candidates as plain tuples, which are quick to send, and others."""


def sorted_out(
    paths: Sequence[str],
    contents: Sequence[tuple[bytes, Identity] | None],
    without_blob: AbstractSet[str],
    seen: Seen,
) -> tuple[list[Candidate], list[InvalidAttr]]:
    """Valid sidecars and others; those that are gone by now are neither.

    Args:
        without_blob: those of `paths` whose blob is not there.
    """
    valid: list[Candidate] = []
    invalid: list[InvalidAttr] = []
    seen_at = microseconds(seen.at)
    for path, content in zip(paths, contents, strict=True):
        if content is None:
            continue
        blob_present = path not in without_blob
        data, identity = content
        quick = _written(path, data, identity, blob_present, (seen_at, seen.ttl_hours))
        one = quick or by_the_codec(path, data, identity, blob_present, seen)
        if isinstance(one, Candidate):
            valid.append(one)
        else:
            invalid.append(one)
    return valid, invalid


def by_the_codec(
    path: str, content: bytes, identity: Identity, blob_present: bool, seen: Seen
) -> Candidate | InvalidAttr:
    """What is made of any bytes."""
    read = validated(path, content, identity)
    if isinstance(read, InvalidAttr):
        return read
    row = to_values(
        read.sidecar,
        read.identity,
        cache_updated_at=seen.at,
        cache_ttl_hours=seen.ttl_hours,
        blob_present=blob_present,
        known_digest=read.digest,
    )
    return Candidate(
        path,
        read.recorded_path,
        read.sidecar.file_id,
        read.at_home,
        read.sidecar.state not in HAVE_BYTES,
        read.is_erased,
        blob_present,
        encoded(row),
    )


def _written(
    path: str,
    content: bytes,
    identity: Identity,
    blob_present: bool,
    seen: tuple[int, int],
) -> Candidate | None:
    """The same, of a sidecar as it is written that lies where it says; None of all others."""
    written = None if identity.size == UNREADABLE_SIZE else read_written(content)
    if written is None:
        return None
    fields = written.fields
    file_id, state, folder = fields.file_id, fields.state, fields.storage_path
    name = fields.storage_filename
    if f"{folder}/{name}{SIDECAR_SUFFIX}" != path:
        return None
    # It is the last id in the name: none begins before the `_`, and none fits in behind it.
    at = name.rfind(file_id)
    if at < 1 or name[at - 1] != "_" or len(name) - at >= 2 * _ID_LENGTH:
        return None
    row = encoded_written(
        written,
        identity,
        cache_updated_at=seen[0],
        cache_ttl_hours=seen[1],
        blob_present=blob_present,
    )
    return Candidate(
        path,
        path,
        file_id,
        home_of(file_id) in (None, folder),
        state not in HAVE_BYTES,
        state is FileState.ERASED,
        blob_present,
        row,
    )

"""One event of the audit, and the form in which it is hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import orjson

GENESIS = bytes(32)
"""Stands for the hash before the first event."""

MAX_REASON_BYTES = 200
MAX_TEXT_BYTES = 256
MAX_DETAIL_BYTES = 1024

# Of the form below: another one would be another chain.
_FORM = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Outcome(StrEnum):
    """How an action ended, as the table has it."""

    UNSPECIFIED = "unspecified"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done or refused. Texts are cut to what the table keeps, without NUL.

    Attributes:
        actor: account; empty when nobody or nobody known did it.
        action: the RPC, or the event of a feed.
        resource: id of what it was done to.
        storage_element_id: who told of it; empty for admin and for refusals.
        source_id: names it where it comes from, so that it is on record once whoever tells of it
            twice; empty for what admin does itself.
    """

    occurred_at: datetime
    action: str
    actor: str = ""
    resource: str = ""
    outcome: Outcome = Outcome.DONE
    details: Mapping[str, str] = field(default_factory=dict)
    storage_element_id: str = ""
    request_id: str = ""
    reason: str = ""
    source_id: str = ""

    def fields(self) -> tuple[datetime, str, str, str, str, str, str, str, str, str]:
        """As they are kept and hashed, in the order of `FIELDS`."""
        details = {
            _kept(name, MAX_TEXT_BYTES): _kept(text, MAX_DETAIL_BYTES)
            for name, text in sorted(self.details.items())
        }
        return (
            self.occurred_at,
            _kept(self.actor, MAX_TEXT_BYTES),
            _kept(self.action, MAX_TEXT_BYTES),
            _kept(self.resource, MAX_TEXT_BYTES),
            self.outcome.value,
            orjson.dumps(details).decode(),
            _kept(self.storage_element_id, MAX_TEXT_BYTES),
            _kept(self.request_id, MAX_TEXT_BYTES),
            _kept(self.reason, MAX_REASON_BYTES),
            _kept(self.source_id, MAX_TEXT_BYTES),
        )


FIELDS = (
    "occurred_at",
    "actor",
    "action",
    "resource",
    "outcome",
    "details",
    "storage_element_id",
    "request_id",
    "reason",
    "source_id",
)
"""Columns that are hashed, besides the sequence; `details` is the text of its JSON."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An event on record: its place in the chain, and its hash."""

    sequence: int
    event: Event
    hash: bytes


def link(previous: bytes, sequence: int, fields: tuple[datetime, *tuple[str, ...]]) -> bytes:
    """The hash of an event: SHA-256 over the hash before it and the event's canonical form.

    The form is a JSON list: its version, the sequence, microseconds since 1970, then the rest of
    `FIELDS` as texts.
    """
    occurred_at, *texts = fields
    microseconds = (occurred_at - _EPOCH) // _MICROSECOND
    form = orjson.dumps([_FORM, sequence, microseconds, *texts])
    return hashlib.sha256(previous + form).digest()


def _kept(text: str, most_bytes: int) -> str:
    """`text` as PostgreSQL and JSON take it, cut between two characters."""
    whole = text.replace("\0", " ").encode("utf-8", "replace")
    return whole[:most_bytes].decode("utf-8", "ignore")

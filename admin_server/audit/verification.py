"""Walking the chain: does every event have the hash that it must have?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg

from admin_server.audit.chain import Chain, Head
from admin_server.audit.event import FIELDS, GENESIS, link
from mesh.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk found.

    Attributes:
        verified: events that fit.
        broken: the first one that does not fit or is missing; None when all is well.
    """

    verified: int
    broken: int | None


async def verify(chain: Chain, kept: Head | None, *, first: int = 1) -> Verdict:
    """Walk from event `first` to the head; what is added meanwhile is left to the next walk.

    An event that was altered together with its own hash is found by the one after it, which then
    is the one that is named. A walk that begins later takes the hash before its first event as it
    is.

    Args:
        kept: a head that was seen earlier and is kept outside of the database.

    Raises:
        InvalidArgument: there is no event `first`.
        Unavailable: the database does not answer.
    """
    head = await chain.head()
    if first < 1 or first > max(head.sequence, 1):
        raise InvalidArgument(
            f"from_sequence is 1 to {max(head.sequence, 1)}", field="from_sequence"
        )
    last = GENESIS if first == 1 else await chain.hash_at(first - 1)
    if last is None:
        return Verdict(0, first - 1)
    expected = first
    async for rows in chain.rows(first, head.sequence):
        for row in rows:
            last = _hash_of(row, last, expected)
            if row["hash"] != last or _contradicts(kept, expected, last):
                return Verdict(expected - first, expected)
            expected += 1
        await asyncio.sleep(0)
    return Verdict(expected - first, await _broken_end(chain, kept, expected, last, head))


def _hash_of(row: asyncpg.Record, last: bytes, expected: int) -> bytes:
    """The hash that the event `expected` must have if it is this row; empty when it can't be."""
    if row["sequence"] != expected:
        return b""
    try:
        return link(last, expected, tuple(row[name] for name in FIELDS))
    except (TypeError, ValueError, OverflowError):
        # A time at the end of all times, say.
        return b""


async def _broken_end(
    chain: Chain, kept: Head | None, expected: int, last: bytes, head: Head
) -> int | None:
    """The first event that is missing or too many after the last one that fits."""
    if expected <= head.sequence:
        return expected
    if last != head.hash:
        return head.sequence
    if kept is not None and kept.sequence > head.sequence:
        return expected
    extra: int | None = await chain.database.fetchval(
        "SELECT min(e.sequence) FROM audit_events e"
        " WHERE e.sequence > coalesce((SELECT sequence FROM audit_head), 0)"
    )
    return extra


def _contradicts(kept: Head | None, sequence: int, found: bytes) -> bool:
    return kept is not None and kept.sequence == sequence and kept.hash != found

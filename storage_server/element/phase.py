"""How far an element is up. The one place that says which way it may go.

    CLOSED    no store is open
    OPEN      the store is, and is the element's: what sidecars say can be read
    READING   the tables are there as well; a standby stays here
    WRITING   this process is the one that writes, and knows what earlier writers left

Beside the phase there are two facts, which a phase needs and which come and go by themselves: `+w`,
the writer's lock is held, and `+t`, the tables are known to be there, whose rows are answered
while the store is closed. Together they are seven standings; `-` is refused:

    move          | CLOSED   | CLOSED+t | OPEN    | OPEN+w    | READING   | READING+w | WRITING
    store opened  | OPEN     | READING  | -       | -         | -         | -         | -
    store closed  | CLOSED   | CLOSED+t | CLOSED  | CLOSED    | CLOSED+t  | CLOSED+t  | CLOSED+t
    lock taken    | -        | -        | OPEN+w  | -         | READING+w | -         | -
    lock lost     | -        | -        | -       | OPEN      | -         | READING   | READING
    tables found  | CLOSED+t | CLOSED+t | READING | READING+w | READING   | READING+w | WRITING
    tables gone   | -        | CLOSED   | -       | -         | OPEN      | OPEN+w    | OPEN+w
    past known    | -        | -        | -       | -         | -         | WRITING   | -

`storage_server.element.opening` alone moves, by `storage_server.element.moves`. Whether an open
store *answers* is another question, which the element's watch asks every second
(`Element.storage_ok`): a store that is silent for a moment costs no phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """See the module."""

    CLOSED = "closed"
    OPEN = "open"
    READING = "reading"
    WRITING = "writing"


class Move(StrEnum):
    """What the opening found or did; a row of the module's table."""

    STORE_OPENED = "store opened"
    STORE_CLOSED = "store closed"
    LOCK_TAKEN = "lock taken"
    LOCK_LOST = "lock lost"
    TABLES_FOUND = "tables found"
    TABLES_GONE = "tables gone"
    PAST_KNOWN = "past known"


@dataclass(frozen=True, slots=True)
class Standing:
    """A column of the module's table; a new element's is CLOSED.

    Attributes:
        has_store: one is open, and is the element's.
        is_writer: this process has the writer's lock.
        has_tables: the tables are there.
        knows_past: what a writer must know of earlier writers has been loaded.
    """

    has_store: bool = False
    is_writer: bool = False
    has_tables: bool = False
    knows_past: bool = False

    @property
    def phase(self) -> Phase:
        """The phase of this standing."""
        if not self.has_store:
            return Phase.CLOSED
        if not self.has_tables:
            return Phase.OPEN
        return Phase.WRITING if self.knows_past else Phase.READING

    def after(self, move: Move) -> Standing:
        """Where `move` leads to.

        Raises:
            RuntimeError: nowhere from here; a fault of whoever moves.
        """
        if not self._allows(move):
            raise RuntimeError(f"no way from {self} by {move!r}")
        return replace(self, **_CHANGES[move])

    def _allows(self, move: Move) -> bool:
        match move:
            case Move.STORE_OPENED:
                return not self.has_store
            case Move.LOCK_TAKEN:
                return self.has_store and not self.is_writer
            case Move.LOCK_LOST:
                return self.is_writer
            case Move.TABLES_GONE:
                return self.has_tables
            case Move.PAST_KNOWN:
                return self.is_writer and self.phase is Phase.READING
            case Move.STORE_CLOSED | Move.TABLES_FOUND:
                return True

    def __str__(self) -> str:
        marks = "+w" if self.is_writer and not self.knows_past else ""
        marks += "+t" if self.has_tables and not self.has_store else ""
        return self.phase.name + marks


_CHANGES: Mapping[Move, Mapping[str, bool]] = {
    Move.STORE_OPENED: {"has_store": True},
    # The lock lies in the store, or is let go with it.
    Move.STORE_CLOSED: {"has_store": False, "is_writer": False, "knows_past": False},
    Move.LOCK_TAKEN: {"is_writer": True},
    Move.LOCK_LOST: {"is_writer": False, "knows_past": False},
    Move.TABLES_FOUND: {"has_tables": True},
    Move.TABLES_GONE: {"has_tables": False, "knows_past": False},
    Move.PAST_KNOWN: {"knows_past": True},
}

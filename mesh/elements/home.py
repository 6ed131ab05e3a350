"""Which of a file's replicas is its home, and in which order a reader asks them: here alone.

The later one is right: the one with the higher (home_since, revision), of equal ones a live one,
then the one on the element with the lower id. Erased is later than anything. Between `moved` in
one feed and `active` in another a reader knows none or two homes: the file stays visible, once.

The client has a twin of this module (`artstore_client.files.home`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

READABLE = frozenset({"active", "moved", "copy"})
# What lists show: a source that was moved away as long as nothing later is known.
LISTED = frozenset({"active", "moved"})
ENDED = frozenset({"deleted", "erased"})
# These tell whether there is such a file; all others follow one of them.
SPEAKING = LISTED | ENDED


@dataclass(frozen=True, slots=True)
class Replica:
    """A file on one element.

    Attributes:
        state: as in sidecars: active, copy, incoming, moved, deleted, gone or erased.
        home_since: milliseconds since 1970; of a file that tells none, the time in its id.
        moved_to: element that it went to; empty when none is told.
    """

    element_id: str
    state: str
    home_since: int
    revision: int
    moved_to: str = ""

    @property
    def lateness(self) -> tuple[bool, int, int, bool]:
        """The higher one is later; of equal ones the lower element id is right."""
        return (self.state == "erased", self.home_since, self.revision, self.state == "active")


def latest(replicas: Iterable[Replica]) -> Replica | None:
    """The latest of all; None of none."""
    by_id = sorted(replicas, key=lambda one: one.element_id)
    return max(by_id, key=lambda one: one.lateness, default=None)


def home(replicas: Iterable[Replica]) -> Replica | None:
    """The one that speaks for the file, or its tombstone; None while only others are known."""
    return latest(one for one in replicas if one.state in SPEAKING)


def has_ended(replicas: Sequence[Replica]) -> bool:
    """Whether it was deleted or erased: a tombstone is known, and nothing later."""
    speaking, last = home(replicas), latest(replicas)
    if speaking is None or last is None or speaking.state not in ENDED:
        return False
    return last.lateness <= speaking.lateness


def in_reading_order(replicas: Iterable[Replica]) -> list[Replica]:
    """Those that give bytes: the home first, then the latest; none of a file that has ended."""
    known = sorted(replicas, key=lambda one: one.element_id)
    if has_ended(known):
        return []
    return sorted(
        (one for one in known if one.state in READABLE),
        key=lambda one: (one.home_since, one.state != "copy", *one.lateness),
        reverse=True,
    )


def follow(told: Replica, asked: Mapping[str, int]) -> str:
    """The element that a replica sends a reader to; empty when it leads no further.

    Args:
        asked: the elements that were asked, each with the home_since it told, -1 if none.
    """
    if told.moved_to and asked.get(told.moved_to, -1) < told.home_since:
        return told.moved_to
    return ""


def later_in_sql(other: str, one: str) -> str:
    """SQL of whether a row of a follower's table is later than another one of the same file.

    Args:
        other, one: aliases of the two rows.
    """

    def lateness(row: str, opposite: str) -> str:
        since = f"coalesce({row}.home_since, floor(extract(epoch FROM {row}.created_at) * 1000))"
        live = f"{row}.state = 'active'"
        # The lower id is later: so each side is compared with the id of the other.
        return f"({row}.state = 'erased', {since}, {row}.revision, {live}, {opposite})"

    left = lateness(other, f"{one}.storage_element_id")
    right = lateness(one, f"{other}.storage_element_id")
    return f"{left} > {right}"


def listed_in_sql(row: str, table: str) -> str:
    """SQL of whether a row of a follower's table is the line that lists show of its file.

    Args:
        row: its alias.
        table: the table, which has the other rows of the file.
    """
    return (
        f"{row}.state IN {_sql(LISTED)} AND NOT EXISTS (SELECT FROM {table} other"
        f" WHERE other.file_id = {row}.file_id AND other.state IN {_sql(SPEAKING)}"
        f" AND {later_in_sql('other', row)})"
    )


def _sql(states: Iterable[str]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"

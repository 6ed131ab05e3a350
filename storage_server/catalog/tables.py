"""Names of an element's tables, all of one prefix: element `se-01` has `storage_elem_01_`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mesh.errors import TablesMissing, Unavailable

_ELEMENT = re.compile(r"se-(\d{2,6})")
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,39}")


def prefix_of(element_id: str) -> str:
    """`storage_elem_NN_` for `se-NN`; raises ValueError for any other id."""
    match = _ELEMENT.fullmatch(element_id)
    if match is None:
        raise ValueError(f"{element_id!r} is no element id like se-01")
    return f"storage_elem_{match[1]}_"


def folder_of(element_id: str) -> str:
    """`storage_element_NN` for `se-NN`: the element's folder, or prefix in a bucket."""
    return f"storage_element_{prefix_of(element_id).removeprefix('storage_elem_').rstrip('_')}"


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one element. The names need no quoting: the prefix is checked."""

    prefix: str

    def __post_init__(self) -> None:
        if _PREFIX.fullmatch(self.prefix) is None:
            raise ValueError(f"table prefix {self.prefix!r} is not lower-case letters, digits, _")

    @property
    def files(self) -> str:
        """The cache: a row for each sidecar."""
        return f"public.{self.prefix}files"

    @property
    def feed_head(self) -> str:
        """One row: epoch, last sequence, counters. Locked before any row of `files`."""
        return f"public.{self.prefix}feed_head"

    def head_lost(self) -> TablesMissing:
        """What to raise where a statement finds no row in `feed_head`."""
        return TablesMissing(f"{self.feed_head} has lost its row and will be made anew")

    def of_earlier_version(self) -> Unavailable:
        """What to raise where a reader misses a column that the writer adds when it starts."""
        return Unavailable(
            f"tables {self.prefix}* are of an earlier version: start the element's writer anew "
            "with the version of this process"
        )

    @property
    def feed(self) -> str:
        """An entry for each change."""
        return f"public.{self.prefix}feed"

    @property
    def pending(self) -> str:
        """Intents: writes that have not reached row and feed yet."""
        return f"public.{self.prefix}pending_writes"

    @property
    def uploads(self) -> str:
        """Resumable uploads."""
        return f"public.{self.prefix}uploads"

    @property
    def pulls(self) -> str:
        """Files on their way here from another element."""
        return f"public.{self.prefix}pulls"

    @property
    def fences(self) -> str:
        """One row: the fences of rebuild and cleanup. Locked before `feed_head`."""
        return f"public.{self.prefix}fences"

    @property
    def fence_sequence(self) -> str:
        """The sequence that fences are drawn from."""
        return f"public.{self.prefix}fence_seq"

    @property
    def version(self) -> str:
        """Alembic's version table of this element, without schema."""
        return f"{self.prefix}alembic_version"

    def all(self) -> tuple[str, ...]:
        """All tables that a migrated element has."""
        return (
            self.files,
            self.feed_head,
            self.feed,
            self.pending,
            self.uploads,
            self.pulls,
            self.fences,
        )

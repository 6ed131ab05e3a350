"""The table that is searched, and what of its values is in the indexes."""

from __future__ import annotations

from dataclasses import dataclass

TABLE = "file_metadata_cache"
# Characters of a text that an index holds: a key of PostgreSQL's is at most 2,704 bytes.
KEY_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns a search goes by.

    Attributes:
        words: the lexemes of a row.
        name_order: SQL of what names are sorted by.
        complete: all rows have been cut into words by the function that cuts a query; until
            then whole names are not looked for either.
    """

    words: str
    name_order: str
    complete: bool


CUT = Layout("words", "name_key", complete=True)
# As it was before migration 0006: it serves while the rows of a large index are cut anew.
UNCUT = Layout("search_vector", f"left(lower(original_filename), {KEY_CHARACTERS})", complete=False)

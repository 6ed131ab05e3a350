"""The table that is searched, and what of its values is in the indexes."""

from __future__ import annotations

TABLE = "file_metadata_cache"
# Characters of a text that an index holds: a key of PostgreSQL's is at most 2,704 bytes.
KEY_CHARACTERS = 200

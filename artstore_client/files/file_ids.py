"""Ids of files as people and programs write them (twin of `mesh.file_ids`)."""

from __future__ import annotations

import re

_WRITTEN = re.compile(
    r"\s*(?:urn:uuid:)?\s*(?P<open>\{)?\s*"
    r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"\s*(?(open)\})\s*",
    re.IGNORECASE,
)


def canonical_file_id(written: str) -> str:
    """The form in which answers name the file; what is no id stays as it is."""
    found = _WRITTEN.fullmatch(written)
    return written if found is None else "-".join(found.groups()[1:]).lower()

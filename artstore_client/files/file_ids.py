"""Ids of files, as answers name them."""

from __future__ import annotations

import re
import uuid

_AROUND = re.compile(r"^\s*(urn:uuid:)?\s*\{?\s*|\s*\}?\s*$", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9a-fA-F]{32}")


def canonical(file_id: str) -> str:
    """The form in which answers name the file; what is no id stays as it is.

    The servers say which other forms they understand (`File.file_id`).
    """
    digits = _AROUND.sub("", file_id).replace("-", "")
    return str(uuid.UUID(digits)) if _DIGITS.fullmatch(digits) else file_id

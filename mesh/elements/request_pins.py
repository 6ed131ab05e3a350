"""The key in Redis that says which element has the upload of a request id."""

from __future__ import annotations

import hashlib

KEY_PREFIX = "artstore:request:"
MAX_KEY_PART = 200


def pin_key(subject: str, request_id: str) -> str:
    """The key of an account's request: ingest pins it there, an element that erases the file
    takes it away.
    """
    if len(subject) + len(request_id) <= MAX_KEY_PART and ":" not in subject:
        return f"{KEY_PREFIX}{subject}:{request_id}"
    # Two pairs must never share a key.
    digest = hashlib.sha256(f"{len(subject)}:{subject}{request_id}".encode()).hexdigest()
    return f"{KEY_PREFIX}:{digest}"

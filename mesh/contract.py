"""The numbers and names of the contract that several parts of the mesh must agree on, each once.

Plain values, so that domains may import it. The client has those it needs in a module of the same
name; `tests/contract/test_client_twins.py` holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Metadata of a call: the bearer, whose token it speaks for, an upload's own token, the call's id.
AUTHORIZATION_KEY: Final = "authorization"
CALLER_KEY: Final = "artstore-caller"
UPLOAD_TOKEN_KEY: Final = "artstore-upload-token"
TICKET_KEY: Final = "artstore-ticket"
REQUEST_ID_KEY: Final = "x-request-id"

ACCEPTED_KEY: Final = "artstore-accepted"
ACCEPTED: Final = ((ACCEPTED_KEY, "1"),)
"""Initial metadata that says: the header is accepted, send the bytes. A refused call has none."""

ERROR_DOMAIN: Final = "artstore"

ELEMENT_ID: Final = r"[a-z][a-z0-9-]{0,31}"
"""What a storage element may be called, as a regular expression."""

DEFAULT_NAMESPACE: Final = "default"
MAX_NAMESPACE_BYTES: Final = 128

CHUNK_BYTES: Final = 1024 * 1024
MAX_CHUNK_BYTES: Final = 2 * 1024 * 1024
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024 + 64 * 1024
"""What a server takes; a client sends and takes 64 KiB less."""

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000
MAX_BATCH_FILE_IDS: Final = 1000
MAX_CHANGE_TOKENS: Final = 1000

MAX_REQUEST_ID_BYTES: Final = 128
MAX_REASON_BYTES: Final = 200
REQUEST_LIFE_SECONDS: Final = 7 * 24 * 3600
"""How long a request_id stands for its upload, and an idle upload stays open."""

HEARTBEAT_SECONDS: Final = 3.0
"""Between two messages of a change feed at most."""

# An element reports to admin every 5 s. Three reports missed, and what it said last says nothing.
REPORT_INTERVAL_SECONDS: Final = 5
MAX_REPORT_AGE_SECONDS: Final = 15.0
MAX_REASON_CHARACTERS: Final = 200
"""Of `unwritable_reason`."""

FULL_PERCENT: Final[Mapping[str, int]] = {"edit": 99, "rw": 98, "ro": 98, "ar": 98}
"""Mode -> whole per cents of the capacity from which an element is FULL and takes no upload.

Edit elements are emptied by expiry and may fill up further than the others.
"""

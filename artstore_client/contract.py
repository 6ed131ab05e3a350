"""Numbers and names of the contract; each is that of the servers (twin of `mesh.contract`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

AUTHORIZATION_KEY: Final = "authorization"
UPLOAD_TOKEN_KEY: Final = "artstore-upload-token"
ACCEPTED_KEY: Final = "artstore-accepted"

CHUNK_BYTES: Final = 1024 * 1024
MAX_CHUNK_BYTES: Final = 2 * 1024 * 1024
MAX_PAGE_SIZE: Final = 1000
MAX_BATCH_FILE_IDS: Final = 1000
MAX_CHANGE_TOKENS: Final = 1000
REQUEST_LIFE_SECONDS: Final = 7 * 24 * 3600

FULL_PERCENT: Final[Mapping[str, int]] = {"edit": 99, "rw": 98, "ro": 98, "ar": 98}
"""Mode -> whole per cents of the capacity from which an element is FULL and takes no upload."""

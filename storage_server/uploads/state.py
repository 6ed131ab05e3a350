"""Where an upload is on its way to a file; the same for both kinds."""

from __future__ import annotations

import enum


class UploadState(enum.Enum):
    """In the order in which an upload goes through them, if it does."""

    TAKING = "taking"
    """Bytes are taken. There certainly is no file."""
    DISPUTED = "disputed"
    """As TAKING, but what came is not what was declared: it may be sent again from anywhere."""
    FINISHING = "finishing"
    """A file is being made of it, or it is being dropped: nothing interrupts that."""
    UNCERTAIN = "uncertain"
    """Whether there is a file is open: an answer was lost, or a process ended. The replay knows."""
    STORED = "stored"
    """There is a file, which may still wait for its row."""
    FILE = "file"
    """There is a file, and all that was to be recorded of it is."""
    GONE = "gone"
    """There is no file, and no upload any more."""

    @property
    def is_file(self) -> bool:
        """There certainly is a file."""
        return self in (UploadState.STORED, UploadState.FILE)

    @property
    def is_settled(self) -> bool:
        """Nothing has to be found out before the upload goes on."""
        return self not in (UploadState.FINISHING, UploadState.UNCERTAIN, UploadState.STORED)

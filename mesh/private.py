"""What a server keeps is for its own account alone, whatever its shell lets others do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

UMASK = 0o077


def close_to_others(path: Path, *, keep: int = 0) -> None:
    """Take from all other accounts what the mode of a folder or file lets them do.

    Below a folder that nobody else may enter everything is out of reach, so what a version before
    left open there is not gone through. What is not there, is not ours or can't be changed now
    stays as it is.

    Args:
        keep: bits of the mode that are left.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode)
        closed = mode & ~UMASK | mode & keep
        # A folder of all accounts, as /tmp, is nobody's to close.
        if closed != mode and not mode & stat.S_ISVTX:
            os.fchmod(descriptor, closed)
    except OSError:
        return
    finally:
        os.close(descriptor)

"""What the operating system says of an open file."""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from typing import BinaryIO

_BUFFERS = (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


def plain_file(file: BinaryIO) -> io.FileIO | None:
    """The operating system's file, if `file` passes its bytes on as they are."""
    raw = file.raw if isinstance(file, _BUFFERS) else file
    return raw if isinstance(raw, io.FileIO) else None


def may_block(file: io.FileIO) -> bool:
    """A pipe, terminal or device: writing waits for somebody, perhaps for ever."""
    return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def regular_descriptor(file: BinaryIO) -> int | None:
    """Descriptor of the regular file behind `file`; None when there is none to look at."""
    # Asked for its descriptor, a spooled file moves from memory to disk.
    if isinstance(file, tempfile.SpooledTemporaryFile):
        return None
    try:
        descriptor = file.fileno()
        return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None


def ends_where_it_says(descriptor: int) -> bool:
    """Whether the size of an open file can be trusted.

    Files of procfs and of mounts that do not know sizes say 0 and have content, those of sysfs
    say a page. Such a file is read as a stream.
    """
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        return stat.S_ISBLK(before.st_mode)
    try:
        seen = os.pread(descriptor, 2, max(before.st_size - 1, 0))
    except OSError as error:
        if error.errno == errno.ESPIPE:
            return False
        raise
    # One that is written to just now is no stream: it will be found to have changed.
    return len(seen) == min(before.st_size, 1) or os.fstat(descriptor).st_size != before.st_size

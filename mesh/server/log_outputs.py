"""Where log lines go, as handlers of `logging` that `LineWriter` calls."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

# Of one log, beside the file that is written.
ASIDE = 3


class _Left(logging.Handler):
    """A handler that is left to the writer: its failures are counted there, and logging, which
    flushes and closes all handlers as the process ends, would be held up by one that is stuck.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if error is not None:
            raise error

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


class LogFile(_Left, logging.handlers.WatchedFileHandler, logging.handlers.RotatingFileHandler):
    """Appends to the file that has the path now; one that has grown too long is put aside as `.1`,
    and what was there as `.2`, and so on.

    Args:
        path: made if missing.
        max_bytes: what the file may hold; 0: without end.
    """

    def __init__(self, path: Path, *, max_bytes: int = 0) -> None:
        super().__init__(path, encoding="utf-8")
        self.maxBytes = max_bytes
        self.backupCount = ASIDE

    def emit(self, record: logging.LogRecord) -> None:
        """Write it to the file that it belongs to."""
        try:
            self.reopenIfNeeded()
            if self.shouldRollover(record):
                self.doRollover()
                self._statstream()
        except OSError:
            self.handleError(record)
        logging.FileHandler.emit(self, record)

    def let_go(self) -> None:
        """Close the file, whatever it did not take: the next lines open it, or a new one.

        logging would flush it again before it lets go, and never get past that.
        """
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        if _ends_within_a_line(Path(self.baseFilename)):
            stream.write("\n")
        return stream


def _ends_within_a_line(path: Path) -> bool:
    """Whether the last line was cut off, as by a disk that was full."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
    except OSError:
        return False


class LogStream(_Left, logging.StreamHandler[TextIO]):
    """Writes to a stream that is open already."""

    def let_go(self) -> None:
        """It is the only one there is: what it did not take may go out later."""

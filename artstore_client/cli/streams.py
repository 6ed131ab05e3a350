"""Standard streams that are closed, full or no longer read, made safe before the command runs."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class OutputFailed(Exception):
    """Standard output takes no more.

    Attributes:
        gone: whoever read it has gone, so that nobody needs to be told.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror}")
        self.gone = isinstance(error, BrokenPipeError)


class _Output(io.FileIO):
    """Standard output, whose errors are no errors of the file that is worked on."""

    failed = False

    def write(self, data: Any, /) -> Any:
        if self.failed:
            # What is left in buffers; the interpreter would complain of it at its end.
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.failed = True
            raise OutputFailed(error) from None


class _Errors(io.FileIO):
    """Standard error; what it can't take is lost, since there is nowhere else to tell it."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Make the streams of this process safe; call it first of all."""
    # A file that is opened later must not become standard output.
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    output = io.BufferedWriter(_Output(1, "wb", closefd=False))
    sys.stdout = io.TextIOWrapper(output, encoding=encoding, errors="backslashreplace")
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    told = _Errors(2, "wb", closefd=False)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(told), encoding=encoding, errors="backslashreplace", line_buffering=True
    )


def flush() -> None:
    """Write what is still in buffers.

    Raises:
        OutputFailed: standard output did not take it.
    """
    sys.stdout.flush()
    sys.stderr.flush()

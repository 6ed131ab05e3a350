"""Ends the process on a signal that comes before a command is under way, or after it."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

SIGNAL_BASE = 128
WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}


def heed() -> None:
    """End at once on signals, with one line; those that this process ignores stay ignored.

    Whatever imports or is torn down at the time would print a traceback, or lose the exit code.
    """
    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"artstore: {WORDS[signal.Signals(number)]}\n".encode())
    os._exit(SIGNAL_BASE + number)

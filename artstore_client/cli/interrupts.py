"""Ends a command on Ctrl-C and its like: at once, and with a line that says how to go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import typer

from artstore_client.cli.first_signal import SIGNAL_BASE, WORDS
from artstore_client.cli.output import print_error, print_note

T = TypeVar("T")

# For a file that must be closed, a server that must be told. What takes longer hangs.
CLEANUP_SECONDS = 1.5
_SHOW_CURSOR = "\x1b[?25h"

_advice: list[Callable[[], str]] = []


@dataclass(slots=True)
class _Cleanup:
    seconds: float = CLEANUP_SECONDS
    what: str = ""


_cleanup = _Cleanup()


@contextmanager
def cleaning_up(what: str, *, seconds: float) -> Iterator[None]:
    """Give the end of the command that long for `what`, and say so; a second signal ends it."""
    _cleanup.seconds, _cleanup.what = seconds, what
    try:
        yield
    finally:
        _cleanup.seconds, _cleanup.what = CLEANUP_SECONDS, ""


@contextmanager
def telling(advice: Callable[[], str]) -> Iterator[None]:
    """Say `advice` when the command is interrupted meanwhile: what is left, and how to go on."""
    _advice.append(advice)
    try:
        yield
    except asyncio.CancelledError:
        # The command is at its end, and this is its advice.
        raise
    except BaseException:
        _advice.remove(advice)
        raise
    _advice.remove(advice)


def run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, ended by the first signal.

    Raises:
        typer.Exit: with 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    _advice.clear()
    ends = _Ends()
    with ends.handling():
        try:
            return asyncio.run(ends.watched(work))
        except BaseException:
            if ends.by is None:
                raise
    ends.tell()
    raise typer.Exit(SIGNAL_BASE + ends.by)


class _Ends:
    """What a signal does to one run of a command."""

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self._cancel: Callable[[], object] | None = None
        self._late: threading.Timer | None = None

    async def watched(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, which a signal cancels."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def end() -> None:
            if _cleanup.what:
                print_note(f"{_cleanup.what}; a second Ctrl-C ends at once")
            task.cancel()

        self._cancel = lambda: loop.call_soon_threadsafe(end)
        if self.by is not None:
            self._cancel()
        return await work

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Take the signals over, except those that this process was started to ignore."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.getsignal(number)
            for number in WORDS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            if self._late is not None:
                self._late.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        if self.by is not None:
            self._end_now()
        self.by = signal.Signals(number)
        # The loop may stand in a call that never ends; then this thread ends the process.
        self._late = threading.Timer(_cleanup.seconds, self._end_now)
        self._late.daemon = True
        self._late.start()
        if self._cancel is not None:
            self._cancel()

    def _end_now(self) -> None:
        if sys.stderr.isatty():
            # A progress bar had no time to bring it back.
            sys.stderr.write(_SHOW_CURSOR)
        self.tell()
        os._exit(SIGNAL_BASE + (self.by or 0))

    def tell(self) -> None:
        """The line that says what is left."""
        advice = "; ".join(filter(None, (advice() for advice in _advice)))
        word = WORDS[self.by or signal.SIGINT]
        print_error(f"{word}: {advice}" if advice else word)

"""Calls that may block for ever, in a thread that nobody has to wait for.

The loop's own threads are joined when the loop and the interpreter end: one that reads a pipe
whose writer is silent would hold up both.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class LoneThread:
    """One daemon thread, started by the first call; calls are done one after the other.

    A caller that is cancelled goes on at once; the call itself runs to its end, if it has one.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._started = False

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` answers or raises."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="artstore-lone", daemon=True).start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, answer, work))
        return await answer

    def close(self) -> None:
        """Let the thread end after the calls it was given."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, answer, work = call
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:
                error = raised
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, answer, result, error)
            # Nothing is held while it waits: a file that nobody took is closed by this.
            del call, answer, work, result, error


def _settle(answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)

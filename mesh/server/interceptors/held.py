"""A call under way that may be ended from outside, wherever its handler is."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.errors import ArtStoreError
from mesh.server.interceptors.wrapping import Call, Proceed


class Held:
    """One call under way, and what it is ended with."""

    __slots__ = ("call", "error", "task")

    def __init__(self, call: Call, task: asyncio.Task[Any]) -> None:
        self.call = call
        self.task = task
        self.error: ArtStoreError | None = None

    def end(self, error: ArtStoreError) -> None:
        """Stop the handler wherever it is; the caller is told `error`."""
        if self.error is None:
            self.error, self.call.cut = error, True
            self.task.cancel()

    async def run(self, request: Any, proceed: Proceed) -> Any:
        """Have the call go on, until its own end or the one from outside."""
        try:
            answer = await proceed(self.call, request)
        except BaseException:
            # Cancelled by somebody else as well (the client left), it ends as that.
            if self.error is not None and self.task.uncancel() == 0:
                raise self.error from None
            raise
        if self.error is not None:
            self.task.uncancel()
            raise self.error
        return answer

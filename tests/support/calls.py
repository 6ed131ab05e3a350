"""The calls that reach a fake: counted, made to fail, held up."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from mesh.errors import ArtStoreError

Hook = Callable[[str], Awaitable[None]]


async def _nothing(_: str) -> None:
    pass


@dataclass
class Pause:
    """A call that is held up: `reached` once it was made, until somebody sets `go`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


class Calls:
    """What a fake is asked, by name.

    Attributes:
        made: names in order.
        before, after: awaited around each call. What `before` raises prevents it; what `after`
            raises is an answer that was lost.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.before: Hook = _nothing
        self.after: Hook = _nothing
        self._errors: dict[str, ArtStoreError] = {}
        self._lost: dict[str, ArtStoreError] = {}
        self._pauses: dict[str, Pause] = {}

    def fail(self, name: str, error: ArtStoreError) -> None:
        """Let calls of this name fail until `mend`."""
        self._errors[name] = error

    def lose_answer(self, name: str, error: ArtStoreError) -> None:
        """Let the next call of this name be done, and its caller be told `error`."""
        self._lost[name] = error

    def pause(self, name: str) -> Pause:
        """Hold up calls of this name until `go`."""
        return self._pauses.setdefault(name, Pause())

    def mend(self) -> None:
        """Let every call succeed again."""
        self._errors.clear()
        self._lost.clear()

    @asynccontextmanager
    async def around(self, name: str) -> AsyncIterator[None]:
        """One call, from its being made to its answer."""
        # Others run while a real one is asked, and while it answers.
        await asyncio.sleep(0)
        self.made.append(name)
        await self.before(name)
        if pause := self._pauses.get(name):
            pause.reached.set()
            await pause.go.wait()
        if error := self._errors.get(name):
            raise error
        yield
        await asyncio.sleep(0)
        await self.after(name)
        if lost := self._lost.pop(name, None):
            raise lost


class Called:
    """`inner` with its coroutine methods as `calls`, named like them behind `prefix`.

    A stage that a store opens is one too: its methods are `stage.write` and so on.
    """

    def __init__(self, inner: Any, calls: Calls, prefix: str = "") -> None:
        self._inner = inner
        self._calls = calls
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @wraps(found)
        async def called(*arguments: Any, **options: Any) -> Any:
            async with self._calls.around(self._prefix + name):
                answer = await found(*arguments, **options)
            return Called(answer, self._calls, "stage.") if name == "open_stage" else answer

        return called

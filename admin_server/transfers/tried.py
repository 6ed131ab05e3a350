"""Waiting for transfers that this admin works on, instead of asking for them again and again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Tried:
    """Tells those who wait for a transfer that it was tried; what came of it, they look up."""

    def __init__(self) -> None:
        self._waited_for: dict[str, asyncio.Event] = {}
        self._waiting = Counter[str]()

    def note(self, transfer_id: str) -> None:
        """A try of it is over, or it was given up."""
        event = self._waited_for.pop(transfer_id, None)
        if event is not None:
            event.set()

    @contextmanager
    def listening(self, transfer_id: str) -> Iterator[asyncio.Event]:
        """Set at the next try's end. Look at the transfer inside: what ends meanwhile is told."""
        event = self._waited_for.setdefault(transfer_id, asyncio.Event())
        self._waiting[transfer_id] += 1
        try:
            yield event
        finally:
            self._waiting[transfer_id] -= 1
            if not self._waiting[transfer_id]:
                del self._waiting[transfer_id]
                self._waited_for.pop(transfer_id, None)

"""The stages of a local store: each once, and few of them with their file open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

# More uploads than these take turns in having their file open; each turn costs some 50 us.
OPEN_FILES = 128


class OpenableStage(Protocol):
    """A stage as it is looked at here."""

    @property
    def key(self) -> str:
        """Names it."""

    @property
    def has_descriptor(self) -> bool:
        """Its file is open."""

    def rest(self) -> None:
        """Let go of the file until it is needed again, unless a thread is at it."""


S = TypeVar("S", bound=OpenableStage)


class OpenStages(Generic[S]):
    """By key, and in the order in which their files were used."""

    def __init__(self) -> None:
        self._by_key: dict[str, S] = {}
        self._used: dict[S, None] = {}

    def all(self) -> Sequence[S]:
        """Those that are neither closed nor discarded."""
        return list(self._by_key.values())

    def find(self, key: str) -> S | None:
        """The one of that key."""
        return self._by_key.get(key)

    def add(self, stage: S) -> None:
        """One that was just opened."""
        self._by_key[stage.key] = stage
        self.used(stage)

    def used(self, stage: S) -> None:
        """Its file is needed: have those let go of theirs that were not used for longest.

        One that a thread is at keeps it until the next time.
        """
        if self._by_key.get(stage.key) is not stage:
            return
        self._used.pop(stage, None)
        self._used[stage] = None
        if len(self._used) <= OPEN_FILES:
            return
        for oldest in list(self._used):
            oldest.rest()
            if not oldest.has_descriptor:
                del self._used[oldest]
            if len(self._used) <= OPEN_FILES:
                return

    def forget(self, stage: S) -> None:
        """It is closed or discarded."""
        self._used.pop(stage, None)
        if self._by_key.get(stage.key) is stage:
            del self._by_key[stage.key]

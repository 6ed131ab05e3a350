"""What a client waits for at the moment, and why: for whoever tells a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing has moved for a while.

    Attributes:
        what: the call and its server: "Upload on ingest".
        why: the failure after which it is tried again; empty while a server only takes its time.
        seconds: since when nothing has moved.
        seconds_left: until it is given up, None while that is the server's business.
    """

    what: str
    why: str
    seconds: float
    seconds_left: float | None


@dataclass(slots=True, eq=False)
class Open:
    """A call that has no answer yet."""

    what: str
    clock: Callable[[], float]
    since: float
    paused: bool = False

    def moved(self) -> None:
        """Something came, or could be sent."""
        self.since, self.paused = self.clock(), False

    def pause(self) -> None:
        """It is the caller who takes time, until the next `moved`."""
        self.paused = True


@dataclass(slots=True)
class _Trouble:
    since: float
    why: str
    given_up_at: float


@dataclass(slots=True)
class Waits:
    """The open calls of one client, and the last failure of what it tries again."""

    clock: Callable[[], float] = time.monotonic
    _calls: set[Open] = field(default_factory=set, init=False)
    _trouble: _Trouble | None = field(default=None, init=False)

    @contextmanager
    def on(self, what: str) -> Iterator[Open]:
        """For the time of a call."""
        call = Open(what, self.clock, self.clock())
        self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)

    def failed(self, why: str, *, seconds_left: float) -> None:
        """Tell of a failure after which it will be tried again."""
        now = self.clock()
        since = self._trouble.since if self._trouble is not None else now
        self._trouble = _Trouble(since, why, now + seconds_left)

    def progressed(self) -> None:
        """Tell that what had failed goes on."""
        self._trouble = None

    def now(self) -> Waiting | None:
        """What has been waited for longest; None when nothing is."""
        now = self.clock()
        silent = min(
            (call for call in self._calls if not call.paused), key=lambda c: c.since, default=None
        )
        if self._trouble is not None:
            return Waiting(
                what=silent.what if silent is not None else "",
                why=self._trouble.why,
                seconds=now - self._trouble.since,
                seconds_left=max(0.0, self._trouble.given_up_at - now),
            )
        if silent is None:
            return None
        return Waiting(silent.what, "", now - silent.since, None)

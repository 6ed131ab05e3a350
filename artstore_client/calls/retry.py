"""What to do after a call failed, and when to stop trying. No I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from artstore_client import errors
from artstore_client.calls.waiting import Waits


class Next(Enum):
    """What an upload or download does after an error."""

    RESUME = "resume"
    """Ask how far it is and go on from there."""
    RESTART = "restart"
    """Begin a new upload, from the first byte."""
    RENEW_TOKEN = "renew token"
    """Get a new access token, then resume."""
    FAIL = "fail"
    """Tell the caller."""


# What a broken connection, a server that dies or is silent, and a bug look like.
_PASSING = (errors.Unavailable, errors.Internal)
# An element that can't take this file any more, while another one may.
_REFUSED = (errors.ResourceExhausted, errors.FailedPrecondition)
# What no other element changes, and no short wait.
_QUOTA = "QUOTA"
_LIMITS_OF_ACCOUNT = frozenset({"TOO_MANY_UPLOADS", "UPLOAD_SHARE", _QUOTA})


def after_stream(error: errors.ArtStoreError, *, bytes_sent: int) -> Next:
    """After an upload in one stream, which keeps nothing when it fails.

    An element that refuses before the first byte was the last one that ingest could ask; one
    that refuses later is not.
    """
    if isinstance(error, errors.NotTrusted):
        return Next.FAIL
    if isinstance(error, errors.Unauthenticated):
        return Next.RENEW_TOKEN
    if isinstance(error, _PASSING):
        return Next.RESTART
    if isinstance(error, _REFUSED) and bytes_sent > 0 and error.reason != _QUOTA:
        return Next.RESTART
    return Next.FAIL


def after_write(error: errors.ArtStoreError) -> Next:
    """After StartUpload, GetUpload or WriteUpload of a resumable upload.

    ABORTED (taken over) fails: another sender has the upload, and both would fight for it.
    DATA_LOSS resumes: a chunk arrived damaged, and nothing of it was kept.
    """
    if isinstance(error, errors.NotTrusted):
        return Next.FAIL
    if isinstance(error, errors.Unauthenticated):
        return Next.RENEW_TOKEN
    if isinstance(error, (*_PASSING, errors.OutOfRange, errors.DataLoss)):
        return Next.RESUME
    if error.reason in _LIMITS_OF_ACCOUNT:
        return Next.FAIL
    if isinstance(error, (*_REFUSED, errors.NotFound, errors.PermissionDenied)):
        return Next.RESTART
    return Next.FAIL


def after_commit(error: errors.ArtStoreError) -> Next:
    """After CommitUpload: as after a write, but DATA_LOSS is the verdict on the whole file."""
    return Next.FAIL if isinstance(error, errors.DataLoss) else after_write(error)


def after_download(error: errors.ArtStoreError) -> Next:
    """After a download broke off."""
    if isinstance(error, errors.NotTrusted):
        return Next.FAIL
    if isinstance(error, errors.Unauthenticated):
        return Next.RENEW_TOKEN
    return Next.RESUME if isinstance(error, _PASSING) else Next.FAIL


@dataclass(slots=True)
class Backoff:
    """Delays between tries: they double, and are spread so that clients do not return at once.

    Args:
        first_seconds: upper end of the first delay.
        most_seconds: upper end of any delay.
        spread: gives a number from 0 to 1; default random.
    """

    first_seconds: float = 0.2
    most_seconds: float = 5.0
    spread: Callable[[], float] = random.random
    tries: int = field(default=0, init=False)

    def delay(self, error: errors.ArtStoreError | None = None) -> float:
        """Seconds to wait now; a longer wish of the server is granted."""
        ceiling = min(self.most_seconds, self.first_seconds * 2.0**self.tries)
        self.tries = min(self.tries + 1, 32)
        wait = ceiling * (0.5 + self.spread() / 2)
        asked = error.retry_after_seconds if isinstance(error, errors.Unavailable) else 0.0
        # One second is what a server says that has nothing to say, so only more than it counts.
        return max(wait, min(asked, self.most_seconds)) if asked > 1.0 else wait

    def reset(self) -> None:
        """Begin with the first delay again, after progress."""
        self.tries = 0


@dataclass(slots=True)
class Patience:
    """Gives up when nothing has moved for `seconds`, however often it was tried.

    Args:
        seconds: 0 gives up at the first failure.
        waits: is told what is waited for.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    backoff: Backoff = field(default_factory=Backoff)
    waits: Waits | None = None
    _best: dict[str, int] = field(default_factory=dict, init=False)
    _since: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def note(self, position: int, *, of: str = "") -> None:
        """Tell how far it is; only a new best counts as progress.

        Args:
            of: what is counted: bytes that are sent run ahead of those that are kept.
        """
        if position > self._best.get(of, -1):
            self._best[of] = position
            self._since = self.clock()
            self.backoff.reset()
            if self.waits is not None:
                self.waits.progressed()

    def next_delay(self, error: errors.ArtStoreError) -> float | None:
        """Seconds to wait before the next try; None when patience has ended."""
        left = self.seconds - (self.clock() - self._since)
        if left <= 0:
            if self.waits is not None:
                self.waits.progressed()
            return None
        if self.waits is not None:
            self.waits.failed(error.message, seconds_left=left)
        return min(self.backoff.delay(error), left)

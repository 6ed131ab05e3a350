"""Searches that wait for changes: how many may, and of which size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from mesh.errors import ResourceExhausted

MOST_AS_ONE = 200
MOST = 1_000
MOST_BYTES = 16 * 1024 * 1024
RETRY_SECONDS = 1.0

WAITING = Gauge("artstore_search_waits", "Searches that wait for changes to be indexed")


class Waits:
    """Counts them. gRPC keeps a request as long as its call lasts, so their sizes count, too.

    Args:
        as_one: so many of one account.
        in_all: so many at all.
        in_bytes: so many bytes of requests.
    """

    def __init__(
        self, *, as_one: int = MOST_AS_ONE, in_all: int = MOST, in_bytes: int = MOST_BYTES
    ) -> None:
        self._as_one = as_one
        self._in_all = in_all
        self._in_bytes = in_bytes
        self._by_account: Counter[str] = Counter()
        self._bytes = 0

    @contextmanager
    def one(self, account: str, size_bytes: int) -> Iterator[None]:
        """One that waits.

        Raises:
            ResourceExhausted: too many do already.
        """
        many = self._by_account[account] >= self._as_one
        if many or self._by_account.total() >= self._in_all:
            whose = "of this account" if many else "of all accounts"
            raise _too_many(f"too many searches {whose} wait for changes")
        if self._bytes + size_bytes > self._in_bytes:
            raise _too_many("too many large searches wait for changes")
        self._by_account[account] += 1
        self._bytes += size_bytes
        WAITING.inc()
        try:
            yield
        finally:
            WAITING.dec()
            self._bytes -= size_bytes
            self._by_account[account] -= 1
            if not self._by_account[account]:
                del self._by_account[account]


def _too_many(what: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"{what}: try again in {RETRY_SECONDS:.0f} s, or search without min_change_tokens",
        retry_after_seconds=RETRY_SECONDS,
        reason="TOO_MANY_WAITING",
    )

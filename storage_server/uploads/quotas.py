"""How much the files of a namespace may take: its policy's quota_bytes.

Admin counts what the registry knows and tells it with the policies. What was stored here in the
last seconds, of which admin may not know yet, is added to what was told before: so the uploads of
one element never pass a quota together. What other elements stored in the same seconds is not
known, and may take a namespace beyond its quota by that much; files that were deleted in them may
count still.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mesh.errors import ResourceExhausted
from mesh.identity.policies import Policies, Policy
from storage_server.element.retention import Retention

# By then what was stored is in the registry, counted, told, and heard of.
KNOWN_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file that was stored, or is being: at, in seconds of the clock; and what was told then."""

    at: float
    size_bytes: int
    told_bytes: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the policies of namespaces say of uploads."""

    retention: Retention
    quotas: Quotas


class Quotas:
    """Compares what is to be stored with what there is.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, policies: Policies, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policies = policies
        self._clock = clock
        self._stored: dict[str, deque[_Stored]] = {}

    def require(self, namespace: str, size_bytes: int | None) -> None:
        """Refuse a file for which there is no room.

        Args:
            size_bytes: None if that is not known yet.

        Raises:
            ResourceExhausted: reason QUOTA. Waiting does not help.
        """
        policy = self._policies.of(namespace)
        if policy.quota_bytes is None:
            return
        used = self._used(policy)
        if used + (1 if size_bytes is None else size_bytes) > policy.quota_bytes:
            raise ResourceExhausted(
                f"namespace {namespace!r} may take {policy.quota_bytes:,} bytes, and its files take"
                f" {used:,}: delete some, or ask an ADMIN for a larger quota",
                reason="QUOTA",
                metadata={
                    "namespace": namespace,
                    "quota_bytes": str(policy.quota_bytes),
                    "used_bytes": str(used),
                },
            )

    @contextmanager
    def room(self, namespace: str, size_bytes: int) -> Iterator[None]:
        """Have room for a file while it is stored, and count it then.

        Raises:
            ResourceExhausted: reason QUOTA.
        """
        self.require(namespace, size_bytes)
        policy = self._policies.of(namespace)
        if policy.quota_bytes is None:
            yield
            return
        mine = _Stored(self._clock(), size_bytes, policy.used_bytes)
        self._stored.setdefault(namespace, deque()).append(mine)
        try:
            yield
        except BaseException:
            with suppress(KeyError, ValueError):
                self._stored[namespace].remove(mine)
            raise

    def _used(self, policy: Policy) -> int:
        stored = self._stored.get(policy.namespace)
        if stored is None:
            return policy.used_bytes
        oldest = self._clock() - KNOWN_SECONDS
        while stored and stored[0].at < oldest:
            stored.popleft()
        if not stored:
            del self._stored[policy.namespace]
            return policy.used_bytes
        here = stored[0].told_bytes + sum(one.size_bytes for one in stored)
        return max(policy.used_bytes, here)

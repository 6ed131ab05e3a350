"""How far behind a follower is, as metrics that stay true while nothing is heard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from prometheus_client import Counter, Gauge, Histogram

from artstore.v1 import changes_pb2
from mesh.contract import HEARTBEAT_SECONDS

CHANGES = Gauge("artstore_follower_lag_changes", "Changes not applied yet", ["element"])
SECONDS = Gauge(
    "artstore_follower_lag_seconds",
    "For how long the table may lack a change; 0 at the head",
    ["element"],
)
APPLIED = Counter("artstore_follower_applied_changes_total", "Changes applied", ["element"])
SNAPSHOTS = Counter("artstore_follower_snapshots_total", "Snapshots applied", ["element"])
FINDINGS = Counter(
    "artstore_follower_reconcile_findings_total", "Rows a snapshot found different", ["element"]
)
FAILURES = Counter(
    "artstore_follower_failures_total", "Times that following broke off", ["element"]
)
SET_ASIDE = Counter(
    "artstore_follower_set_aside_total", "Changes that the table could not take", ["element"]
)
DELAY = Histogram(
    "artstore_follower_delay_seconds",
    "From a change's commit to its application",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)

# Without a sign of life for longer than two heartbeats take, nobody knows of new changes.
SILENCE_SECONDS = 2 * HEARTBEAT_SECONDS


class Lag:
    """Of one element; the gauges ask it whenever they are read."""

    def __init__(self, element_id: str) -> None:
        self._element_id = element_id
        self._head = 0
        self._sequence = 0
        self._behind_since: float | None = time.time()
        self._heard_at = 0.0
        CHANGES.labels(element_id).set_function(lambda: self.changes)
        SECONDS.labels(element_id).set_function(lambda: self.seconds)

    @property
    def changes(self) -> int:
        """Changes that the element told of and that are not applied."""
        return max(0, self._head - self._sequence)

    @property
    def seconds(self) -> float:
        """For how long the table may lack a change."""
        now = time.time()
        if self._behind_since is not None:
            return max(0.0, now - self._behind_since)
        silent = now - self._heard_at
        return silent if silent > SILENCE_SECONDS else 0.0

    def heard(self, head: int) -> None:
        """The element's head is `head`."""
        self._head, self._heard_at = head, time.time()
        self._settle(self._heard_at)

    def reached(self, sequence: int, behind_since: float | None = None) -> None:
        """Everything up to `sequence` is applied; what follows is no older than `behind_since`."""
        self._sequence, self._heard_at = sequence, time.time()
        if self._behind_since is not None and behind_since is not None:
            self._behind_since = behind_since
        self._settle(self._heard_at)

    def applied(self, changes: Sequence[changes_pb2.Change]) -> None:
        """These changes are applied, in order."""
        APPLIED.labels(self._element_id).inc(len(changes))
        now = time.time()
        committed = [at.seconds + at.nanos / 1e9 for at in (one.changed_at for one in changes)]
        for at in committed:
            DELAY.observe(max(0.0, now - at))
        self.reached(changes[-1].position, committed[-1])

    def failed(self) -> None:
        """Something went wrong; what is known stays true."""
        FAILURES.labels(self._element_id).inc()

    def unknown(self) -> None:
        """What the table lacks is not known from now on."""
        if self._behind_since is None:
            self._behind_since = time.time()

    def close(self) -> None:
        """The element is not followed any more."""
        for gauge in (CHANGES, SECONDS):
            with suppress(KeyError):
                gauge.remove(self._element_id)

    def _settle(self, now: float) -> None:
        if self._sequence >= self._head:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now

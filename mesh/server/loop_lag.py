"""How long the event loop was held up: what a caller waits although nothing is being done."""

from __future__ import annotations

import asyncio
from collections import deque

from prometheus_client import Histogram

SAMPLE_SECONDS = 0.02
KEPT_SAMPLES = 30_000

lag_seconds = Histogram(
    "artstore_event_loop_lag_seconds",
    "Delay of a timer of 20 ms: the time for which something else held the event loop.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)


class LoopLag:
    """Samples the lag every 20 ms; run `watch` as a background task."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=KEPT_SAMPLES)

    async def watch(self) -> None:
        """Sample until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            lag = max(0.0, loop.time() - due)
            self._samples.append(lag)
            lag_seconds.observe(lag)

    def reset(self) -> None:
        """Forget the samples so far."""
        self._samples.clear()

    @property
    def max_seconds(self) -> float:
        """The longest lag of the last ten minutes."""
        return max(self._samples, default=0.0)

    def percentile_seconds(self, percent: float) -> float:
        """The lag that `percent` of the samples do not exceed; 0 without samples."""
        ordered = sorted(self._samples)
        if not ordered:
            return 0.0
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

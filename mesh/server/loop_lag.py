"""How long the event loop was held up: what a caller waits although nothing is being done."""

from __future__ import annotations

import asyncio

from prometheus_client import Histogram

SAMPLE_SECONDS = 0.02

lag_seconds = Histogram(
    "artstore_event_loop_lag_seconds",
    "Delay of a timer of 20 ms: the time for which something else held the event loop.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)


async def watch_loop_lag() -> None:
    """Observe the lag every 20 ms until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        lag_seconds.observe(max(0.0, loop.time() - due))

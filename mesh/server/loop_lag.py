"""How long the event loop was held up: what a caller waits although nothing is being done."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Histogram

SAMPLE_SECONDS = 0.02
# Waking up fifty times a second would be most of what an idle server does.
IDLE_SAMPLE_SECONDS = 0.2
BUSY_SHARE = 0.05

lag_seconds = Histogram(
    "artstore_event_loop_lag_seconds",
    "Delay of a timer of 20 ms, of 200 while idle: for so long something held the event loop.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)


async def watch_loop_lag() -> None:
    """Observe the lag until cancelled: every 20 ms while the loop computes, else every 200 ms."""
    loop = asyncio.get_running_loop()
    pause = SAMPLE_SECONDS
    began, computed = loop.time(), time.thread_time()
    while True:
        await asyncio.sleep(pause)
        lag = max(0.0, loop.time() - began - pause)
        lag_seconds.observe(lag)
        busy = time.thread_time() - computed > BUSY_SHARE * (pause + lag)
        pause = SAMPLE_SECONDS if busy or lag > SAMPLE_SECONDS else IDLE_SAMPLE_SECONDS
        began, computed = loop.time(), time.thread_time()

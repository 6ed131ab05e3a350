"""What a server's metrics page says, and how it moved during a measurement."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from bench.figures import Figure, Spread

METRICS_PORT_DISTANCE = 1000
LOOP_LAG = "artstore_event_loop_lag_seconds"


async def loop_lag(endpoint: str) -> Mapping[float, float]:
    """Samples of a server's event loop so far, cumulated: upper bound in seconds -> count."""
    page = await asyncio.to_thread(_page, endpoint)
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(page)
        if family.name == LOOP_LAG
        for sample in family.samples
        if sample.name == f"{LOOP_LAG}_bucket"
    }


def _page(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    address = f"http://{host}:{int(port) + METRICS_PORT_DISTANCE}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode())


def blocked(what: str, before: Mapping[float, float], after: Mapping[float, float]) -> list[Figure]:
    """p99.9 and the longest of the samples in between, as the upper bounds of their buckets."""
    counts = {bound: after[bound] - before[bound] for bound in sorted(after)}
    total = counts[float("inf")]
    p999 = next(bound for bound, count in counts.items() if count >= 0.999 * total)
    longest = next(bound for bound, count in counts.items() if count >= total)
    name = f"event loop blocked, {what}"
    return [
        Figure(f"{name}, p99.9 at most, s", Spread.of([p999]), 0.05, None, False),
        Figure(f"{name}, longest at most, s", Spread.of([longest]), 0.2, 0.05, False),
    ]

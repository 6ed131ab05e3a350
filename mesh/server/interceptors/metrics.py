"""Counts and times of calls, for Prometheus. Labels are methods and codes, never ids."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from prometheus_client import Counter, Gauge, Histogram

from mesh.identity.roles import ENDLESS
from mesh.server.interceptors.wrapping import Call, Proceed

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)

# Streams that stay open by design; a graceful stop does not wait for them.
WATCHES = ENDLESS | {
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


calls_total = Counter("artstore_calls_total", "Calls that ended.", ["method", "code"])
call_duration_seconds = Histogram(
    "artstore_call_duration_seconds", "Time from headers to status.", ["method"], buckets=BUCKETS
)
calls_in_flight = Gauge("artstore_calls_in_flight", "Calls being served now, watches included.")


class CallMetrics:
    """Counts and times calls, and knows when a server has none left in flight.

    Attributes:
        in_flight: open watches aside.
        watches: those of changes, of health and the like.
    """

    def __init__(self) -> None:
        self._counters: dict[tuple[str, grpc.StatusCode], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0
        self.watches = 0

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Measure one call."""
        watch = call.method in WATCHES
        if watch:
            self.watches += 1
        else:
            self.in_flight += 1
            self._idle.clear()
        calls_in_flight.inc()
        code: grpc.StatusCode | None = None
        try:
            return await proceed(call, request)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            calls_in_flight.dec()
            if watch:
                self.watches -= 1
            else:
                self.in_flight -= 1
                if self.in_flight == 0:
                    self._idle.set()
            self._record(call, code or call.status_code())

    def _record(self, call: Call, code: grpc.StatusCode) -> None:
        key = (call.method, code)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = calls_total.labels(call.method, code.name)
        counter.inc()
        histogram = self._histograms.get(call.method)
        if histogram is None:
            histogram = self._histograms[call.method] = call_duration_seconds.labels(call.method)
        histogram.observe(time.perf_counter() - call.started)

    async def idle(self) -> None:
        """Wait until no call is in flight, open watches aside."""
        await self._idle.wait()

"""Keeps the health of each service in step with what it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

INTERVAL_SECONDS = 2.0
# Who waits for a server waits for this too.
DOWN_INTERVAL_SECONDS = 1.0
PROBE_TIMEOUT_SECONDS = 2.0

_log = structlog.stdlib.get_logger(__name__)

Probe = Callable[[], Awaitable[object]]


class HealthSink(Protocol):
    """What takes the verdicts; `mesh.server.server.MeshServer` does."""

    async def set_serving(self, service: str, serving: bool) -> None:
        """Set the health of one service."""


@dataclass(slots=True)
class HealthWatcher:
    """Asks the probes every two seconds, more often while one says no; run `watch` as a background
    task.

    Args:
        sink: takes the verdicts.
        probes: (full service name, probe). A probe raises, or answers False, when what it
            looks at is down or silent; a service with several needs them all.
        interval_seconds: from one look to the next.
        down_seconds: the same, while a service does not serve.
    """

    sink: HealthSink
    probes: Sequence[tuple[str, Probe]]
    interval_seconds: float = INTERVAL_SECONDS
    down_seconds: float = DOWN_INTERVAL_SECONDS
    _last: dict[str, bool] = field(default_factory=dict)

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            all_serve = all(self._last.values())
            await asyncio.sleep(self.interval_seconds if all_serve else self.down_seconds)

    async def look(self) -> None:
        """Ask each probe once, all at the same time, and report."""
        # One alone needs no task of its own: most servers have one, and look all the time.
        asked = [self._ask(probe) for _, probe in self.probes]
        answers = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        verdicts: dict[str, bool] = {}
        reasons: dict[str, str] = {}
        for (service, _), reason in zip(self.probes, answers, strict=True):
            verdicts[service] = verdicts.get(service, True) and not reason
            reasons[service] = reasons.get(service) or reason
        for service, serving in verdicts.items():
            if self._last.get(service) is serving:
                continue
            await self.sink.set_serving(service, serving)
            if self._last.get(service, True) != serving:
                _log.warning(
                    "health changed", service=service, serving=serving, reason=reasons[service]
                )
            self._last[service] = serving

    async def _ask(self, probe: Probe) -> str:
        """Why the probe failed, empty if it did not."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                return "probe says no" if await probe() is False else ""
        except TimeoutError:
            return f"no answer within {PROBE_TIMEOUT_SECONDS} s"
        except Exception as exc:
            return str(exc) or type(exc).__name__

"""Elements that failed a moment ago, so that the next uploads ask others first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from mesh.elements.seen import SeenElement

OPEN_SECONDS = 3.0

_log = structlog.stdlib.get_logger(__name__)


class Breaker:
    """Suspects an element that failed for `open_seconds`, and until it reports again.

    A frozen element makes no report, so it costs one upload its waiting time and not one
    every few seconds.

    Args:
        clock: seconds, never going back.
    """

    def __init__(
        self, open_seconds: float = OPEN_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_seconds = open_seconds
        self._clock = clock
        # Element id -> (when suspicion may end, when its last report was made).
        self._failed: dict[str, tuple[float, float]] = {}

    def trip(self, element: SeenElement, reason: str) -> None:
        """The element did not answer, or could not be reached."""
        if element.element_id not in self.suspects([element]):
            _log.warning("storage element skipped", element=element.element_id, reason=reason)
        until = self._clock() + self._open_seconds
        self._failed[element.element_id] = (until, element.heard_at)

    def mend(self, element: SeenElement) -> None:
        """The element answered."""
        if self._failed.pop(element.element_id, None) is not None:
            _log.info("storage element answers again", element=element.element_id)

    def suspects(self, elements: Iterable[SeenElement]) -> frozenset[str]:
        """Ids of those of `elements` that are to be asked last."""
        return frozenset(e.element_id for e in elements if self._is_suspect(e))

    def _is_suspect(self, element: SeenElement) -> bool:
        failed = self._failed.get(element.element_id)
        if failed is None:
            return False
        until, last_report = failed
        return self._clock() < until or element.heard_at <= last_report

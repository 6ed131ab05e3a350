"""Elements that failed a moment ago, so that the next uploads ask others first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from mesh.concurrency.breaker import Breaker
from mesh.elements.seen import SeenElement

_log = structlog.stdlib.get_logger(__name__)


class Suspects:
    """An element that failed is one for a while, and until it reports again.

    A frozen element makes no report, so it costs one upload its waiting time and not one
    every few seconds.

    Args:
        new_breaker: makes that of an element.
    """

    def __init__(self, new_breaker: Callable[[], Breaker] = Breaker) -> None:
        self._new_breaker = new_breaker
        # By element id, with the time of its last report before it failed.
        self._failed: dict[str, tuple[Breaker, float]] = {}

    def trip(self, element: SeenElement, reason: str) -> None:
        """The element did not answer, or could not be reached."""
        if not self._is_suspect(element):
            _log.warning("storage element skipped", element=element.element_id, reason=reason)
        breaker = self._new_breaker()
        breaker.trip()
        self._failed[element.element_id] = (breaker, element.heard_at)

    def mend(self, element: SeenElement) -> None:
        """The element answered."""
        if self._failed.pop(element.element_id, None) is not None:
            _log.info("storage element answers again", element=element.element_id)

    def among(self, elements: Iterable[SeenElement]) -> frozenset[str]:
        """Ids of those of `elements` that are to be asked last."""
        return frozenset(e.element_id for e in elements if self._is_suspect(e))

    def _is_suspect(self, element: SeenElement) -> bool:
        failed = self._failed.get(element.element_id)
        if failed is None:
            return False
        breaker, last_report = failed
        return breaker.is_open or element.heard_at <= last_report

"""Which elements admin has admitted, with the store and the address that each was admitted with.

Only there are calls and tokens sent. What an element says of itself in Valkey is believed of how it
is, never of where.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from artstore.v1 import elements_pb2

# So long admin is asked at once whether it has admitted what just reported: at its start an element
# reports to Valkey and to admin at the same time.
DOUBT_SECONDS = 10.0
MAX_DOUBTED = 1000

# Store and address.
Place = tuple[str, str]


class Admitted:
    """Admin's list, as it was read last; empty until then.

    Args:
        clock: seconds that only grow.

    Attributes:
        doubt: called when a report is not that of an admitted element; the list may be old.
        on_list: told of the ids of each list.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.doubt: Callable[[], None] = lambda: None
        self.on_list: Callable[[Collection[str]], None] = lambda _: None
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._doubted: dict[tuple[str, Place], float] = {}

    def replace(self, elements: Iterable[elements_pb2.StorageElement]) -> None:
        """Take over the whole list."""
        self._places = {
            one.storage_element_id: (one.store_id, one.endpoint) for one in elements if one.endpoint
        }
        self.on_list(self._places.keys())

    def __contains__(self, report: elements_pb2.StorageElementReport) -> bool:
        """Whether a report is of an admitted element, with its store and at its address."""
        name, place = report.storage_element_id, (report.store_id, report.endpoint)
        if self._places.get(name) == place:
            return True
        now = self._clock()
        if len(self._doubted) >= MAX_DOUBTED:
            self._doubted.clear()
        if now - self._doubted.setdefault((name, place), now) <= DOUBT_SECONDS:
            self.doubt()
        return False

"""How much a repair does in one transaction, by how long the last ones took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage_server.catalog.merge import MERGED_TOGETHER

FEWEST = 1000
# Others that write wait for the feed's head so long.
AIM_SECONDS = 0.5


class Pace:
    """Rows in a batch: as many as are written in half a second, but not few.

    Many at a time cost PostgreSQL less; on a busy machine they would keep those who write waiting.
    """

    def __init__(self) -> None:
        self.rows = MERGED_TOGETHER

    @contextmanager
    def measured(self, rows: int) -> Iterator[None]:
        """Around the transaction that writes so many."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        if rows >= FEWEST and seconds > 0:
            fitting = int(rows * AIM_SECONDS / seconds)
            # One slow transaction tells little.
            self.rows = max(FEWEST, min(MERGED_TOGETHER, (self.rows + fitting) // 2))

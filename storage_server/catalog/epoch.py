"""The epoch of the change feed, as this process saw it last."""

from __future__ import annotations


class Epoch:
    """Noted by whoever opens the tables, reads the feed's head or commits a row.

    Attributes:
        value: empty until the tables were seen. Tables that are made anew have another one.
    """

    def __init__(self) -> None:
        self.value = ""

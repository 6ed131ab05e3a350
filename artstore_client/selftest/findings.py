"""How a check of the self-test says that something is not as it should be."""

from __future__ import annotations


class Failed(Exception):
    """What was seen is not what should be."""


class Skipped(Exception):
    """The check would do harm here; the text says to whom."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise Failed with `otherwise` unless it holds."""
    if not holds:
        raise Failed(otherwise)

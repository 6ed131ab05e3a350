"""Times as people read them: when it is, and how far from now."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min"))
# Below two of a unit the next smaller one says more.
_AT_LEAST = 2


def when(moment: datetime, now: datetime) -> str:
    """`2026-01-31 12:00:00Z (in 3 days)`."""
    shown = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"{shown} ({from_now(moment, now)})"


def from_now(moment: datetime, now: datetime) -> str:
    """`in 3 days`, `48 min ago`, `now`."""
    seconds = (moment - now).total_seconds()
    span = _span(abs(seconds))
    if not span:
        return "now"
    return f"in {span}" if seconds > 0 else f"{span} ago"


def _span(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= _AT_LEAST * length:
            return f"{round(seconds / length)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else ""

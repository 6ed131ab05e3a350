"""Sizes and times as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

import typer

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_AGO = re.compile(r"(\d+)\s*([hdw])", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,6})\s*([smhdw])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_BIGGEST = 2**63 - 1


def parse_size(given: str) -> int:
    """Bytes of `10`, `2.5M` (of 1,000) or `64MiB` (of 1,024).

    Raises:
        typer.BadParameter: it is none of these.
    """
    match = _SIZE.fullmatch(given.strip())
    if match is None:
        raise typer.BadParameter(f"{given!r} is no size, such as 800, 2.5M or 64MiB")
    number, unit, binary = match.groups()
    power = " kmgt".index((unit or " ").lower())
    size = Decimal(number) * (1024 if binary else 1000) ** power
    if size > _BIGGEST:
        raise typer.BadParameter(f"{given!r} is too large")
    return int(size)


def parse_moment(given: str) -> datetime:
    """The time of `2026-01-31`, `2026-01-31T12:00`, of this machine's zone without one, or of so
    long ago: `12h`, `30d`, `2w`.

    Raises:
        typer.BadParameter: it is none of these.
    """
    try:
        ago = _AGO.fullmatch(given.strip())
        if ago is not None:
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2].lower()])
        return datetime.fromisoformat(given.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{given!r} is no time, such as 2026-01-31, 2026-01-31T12:00 or 30d"
        ) from None


def parse_duration(given: str) -> int:
    """Seconds of `90s`, `15m`, `12h`, `30d`, `2w`.

    Raises:
        typer.BadParameter: it is none of these.
    """
    match = _DURATION.fullmatch(given.strip())
    if match is None:
        raise typer.BadParameter(f"{given!r} is no length of time, such as 15m, 12h or 30d")
    return int(match[1]) * _SECONDS[match[2].lower()]


Size = Annotated[int | None, typer.Option(parser=parse_size, metavar="SIZE", help="Such as 64MiB.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=parse_moment, metavar="TIME", help="At or after: 2026-01-31, or 30d ago."),
]
Before = Annotated[
    datetime | None, typer.Option(parser=parse_moment, metavar="TIME", help="Before that time.")
]

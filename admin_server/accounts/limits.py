"""Limits that an account was given, beside the defaults of the mesh."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mesh.errors import InvalidArgument
from mesh.identity.limits import Limits

_RANGES = {"open_uploads": (0, 1_000_000), "reserved_percent": (0, 100), "calls": (1, 100_000)}


@dataclass(frozen=True, slots=True)
class GivenLimits:
    """As `Limits`; None: the default, whatever it is at the time."""

    open_uploads: int | None = None
    reserved_percent: int | None = None
    calls: int | None = None

    def whole(self) -> Limits:
        """What holds for the account."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return Limits(**given)


def check_limits(limits: GivenLimits) -> None:
    """
    Raises:
        InvalidArgument: one is out of its range.
    """
    for name, (least, most) in _RANGES.items():
        value = getattr(limits, name)
        if value is not None and not least <= value <= most:
            raise InvalidArgument(
                f"limits.{name} is {least} to {most:,}; unset is the default",
                field=f"limits.{name}",
            )

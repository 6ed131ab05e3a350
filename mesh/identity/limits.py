"""How much of the mesh one account may take at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may have at a time; the defaults are those of an account without its own.

    Attributes:
        open_uploads: uploads that are open.
        reserved_percent: room that is reserved for its uploads and not sent yet, in whole per
            cents of the mesh's. One upload of any size is allowed whatever this says.
        calls: calls under way on one server. Four times what 200 uploads side by side use.
    """

    open_uploads: int = 1000
    reserved_percent: int = 10
    calls: int = 800

    def claim(self) -> dict[str, int]:
        """What a token says of them: those that are not the default."""
        return {name: value for name, value in asdict(self).items() if value != _DEFAULTS[name]}

    @classmethod
    def of_claim(cls, claim: object) -> Limits:
        """The limits that a token names, with defaults for what it does not.

        Names that are not known here are those of a newer admin, and left out.

        Raises:
            TypeError, ValueError: it is not what `claim` makes.
        """
        if claim is None:
            return cls()
        if not isinstance(claim, Mapping):
            raise TypeError("limits are an object")
        known = {name: claim[name] for name in _DEFAULTS if name in claim}
        if any(type(value) is not int or value < 0 for value in known.values()):
            raise ValueError("a limit is a number, and not negative")
        return cls(**known)


_DEFAULTS: dict[str, int] = {field.name: field.default for field in fields(Limits)}  # type: ignore[misc]

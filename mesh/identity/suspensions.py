"""Whose tokens are refused although they live: accounts suspended, deleted, or changed since.

Admin's list, followed by every server (`mesh.calls.suspension_list`) and kept on disk beside the
keys: whoever is on it stays out while admin, Redis or both are down, also after a restart.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from mesh.concurrency.bell import Bell
from mesh.errors import Unauthenticated
from mesh.identity.caller import Caller
from mesh.identity.kept import write_kept

SUSPENSIONS_KEY = "artstore:suspensions"
"""Where admin puts the list into Redis, as `SuspensionList.to_json`."""

# Of the year 9999.
LAST_SECOND = 253402300800.0

# What the clocks of two servers may differ.
CLOCKS_DIFFER_SECONDS = 60.0

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Suspension:
    """An account whose tokens are refused; times are seconds since 1970.

    Attributes:
        suspended_at: since when.
        ends_at: None while the account is suspended: every token of it is refused. Else tokens
            issued up to the second of `suspended_at` are refused, and none of them lives longer
            than until then: the account was deleted, or changed so that earlier ones must end.
    """

    client_id: str
    suspended_at: float
    ends_at: float | None = None

    def refuses(self, issued_at: float) -> bool:
        """Whether a token of that age is refused. Tokens say the second they were issued in."""
        return self.ends_at is None or issued_at < math.floor(self.suspended_at) + 1


@dataclass(frozen=True, slots=True)
class SuspensionList:
    """All of them, as admin read them at `listed_at` by its clock."""

    listed_at: float
    suspensions: tuple[Suspension, ...]

    def to_json(self) -> str:
        """As it is kept on disk and in Redis."""
        return json.dumps(
            {"listed_at": self.listed_at, "suspensions": [asdict(one) for one in self.suspensions]}
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> SuspensionList:
        """
        Raises:
            ValueError: it is not what `to_json` makes.
        """
        try:
            found = json.loads(text, parse_constant=_refuse)
            return cls(
                _time(found["listed_at"]),
                tuple(
                    Suspension(
                        str(one["client_id"]),
                        _time(one["suspended_at"]),
                        None if one["ends_at"] is None else _time(one["ends_at"]),
                    )
                    for one in found["suspensions"]
                ),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise ValueError("not a list of suspensions") from exc


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no time")


def _time(value: object) -> float:
    """Seconds since 1970 that a clock can show."""
    seconds = float(value)  # type: ignore[arg-type]
    if not 0 <= seconds < LAST_SECOND:
        raise ValueError(f"{seconds} is no time")
    return seconds


class Suspensions:
    """The list as it is known now; `bell` rings when other tokens than before are refused.

    Args:
        path: file that it survives a restart in; None keeps it in memory only.
        now: seconds since 1970.
    """

    def __init__(self, path: Path | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.bell = Bell()
        self._path = path
        self._listed_at = float("-inf")
        self._by_account: dict[str, Suspension] = {}
        self._kept: dict[str, Suspension] = {}
        if path is not None:
            self._load(path)

    def __len__(self) -> int:
        return len(self._by_account)

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._by_account

    def require_good(self, caller: Caller) -> None:
        """
        Raises:
            Unauthenticated: the caller's account is suspended, or its token is from before what
                ended those.
        """
        if caller.from_admin:
            # It signs that itself; no account is named so.
            return
        found = self._by_account.get(caller.subject)
        if found is None or not found.refuses(caller.issued_at) or not caller.token:
            return
        if found.ends_at is None:
            raise Unauthenticated(
                f"the account {caller.subject} is suspended; an ADMIN can resume it",
                reason="ACCOUNT_SUSPENDED",
            )
        raise Unauthenticated(
            f"the account {caller.subject} was changed, got a new secret or was deleted since this"
            " token was issued; get a new one",
            reason="TOKEN_WITHDRAWN",
        )

    def take(self, found: SuspensionList) -> None:
        """Go by what admin says."""
        by_account = {one.client_id: one for one in found.suspensions}
        self._listed_at = found.listed_at
        if by_account == self._by_account:
            return
        _log.info("suspensions changed", accounts=_changed(self._by_account, by_account))
        self._by_account = by_account
        self.bell.ring()

    def take_newer(self, found: SuspensionList) -> None:
        """Go by a copy of what admin said, if it is of later than what is known here.

        One that is of a time to come was not left by admin.
        """
        if found.listed_at > self._now() + CLOCKS_DIFFER_SECONDS:
            return
        if found.listed_at > self._listed_at:
            self.take(found)

    async def keep(self) -> None:
        """Write what is known to disk, if it is not there.

        Raises:
            OSError: it can't be kept; it counts all the same.
        """
        known = self._by_account
        if self._path is None or known == self._kept:
            return
        text = SuspensionList(self._listed_at, tuple(known.values())).to_json()
        await asyncio.to_thread(write_kept, self._path, text)
        self._kept = known

    def _load(self, path: Path) -> None:
        try:
            self.take(SuspensionList.from_json(path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as exc:
            _log.warning("kept suspensions not readable", path=str(path), reason=str(exc))
        self._kept = self._by_account


def _changed(before: dict[str, Suspension], after: dict[str, Suspension]) -> list[str]:
    """Accounts whose entries differ, for a log line."""
    names: Iterable[str] = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))[:20]

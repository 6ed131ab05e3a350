"""How full an element is, and the room that open uploads have reserved. Plain arithmetic.

All sizes are bytes. Limits are whole per cents of the capacity, so a small element is not
full sooner than a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.contract import FULL_PERCENT
from mesh.errors import ResourceExhausted
from storage_server.domain.modes import Mode

UNKNOWN_SIZE_STEP_BYTES = 64 * 1024 * 1024
"""Reserved at a time for an upload that did not declare its size."""


class FillLevel(StrEnum):
    """How full an element is. FULL takes no upload."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Per cents of the capacity from which each level holds."""

    warning: int
    critical: int
    full: int


_EDIT = Thresholds(warning=90, critical=95, full=FULL_PERCENT[Mode.EDIT])
_OTHERS = Thresholds(warning=85, critical=92, full=FULL_PERCENT[Mode.RW])


def thresholds(mode: Mode) -> Thresholds:
    """Edit elements are emptied by expiry and may fill up further than the others."""
    return _EDIT if mode is Mode.EDIT else _OTHERS


def fill_level(mode: Mode, *, capacity_bytes: int, used_bytes: int) -> FillLevel:
    """The level at `used_bytes`. A capacity of 0 is FULL."""
    limits = thresholds(mode)
    if used_bytes * 100 >= capacity_bytes * limits.full:
        return FillLevel.FULL
    if used_bytes * 100 >= capacity_bytes * limits.critical:
        return FillLevel.CRITICAL
    if used_bytes * 100 >= capacity_bytes * limits.warning:
        return FillLevel.WARNING
    return FillLevel.OK


def room(mode: Mode, *, capacity_bytes: int, used_bytes: int, reserved_bytes: int) -> int:
    """Bytes that may still be promised: up to FULL per cent of the capacity, never below 0."""
    limit = capacity_bytes * thresholds(mode).full // 100
    return max(0, limit - used_bytes - reserved_bytes)


@dataclass(slots=True)
class _Reservation:
    """Room of one upload, in bytes; of a file that is not counted yet the account is empty."""

    account: str
    held: int
    sent: int = 0

    @property
    def unsent(self) -> int:
        return max(0, self.held - self.sent)


class Reservations:
    """The room that each open upload of an element holds, and whose it is. One event loop, no
    locking.

    The caller passes the room there is (`room()` with `total_bytes` as the reserved part)
    and may therefore ask for as much as that again.
    """

    def __init__(self) -> None:
        self._all: dict[str, _Reservation] = {}
        self._of: dict[str, dict[str, _Reservation]] = {}
        self._total = 0
        self._unsent = 0

    @property
    def total_bytes(self) -> int:
        """Sum over all open uploads."""
        return self._total

    @property
    def unsent_bytes(self) -> int:
        """The part of it that is not sent yet."""
        return self._unsent

    def held(self, upload_id: str) -> int:
        """What `upload_id` holds; 0 when it is not open."""
        found = self._all.get(upload_id)
        return found.held if found is not None else 0

    def of(self, account: str) -> tuple[int, int, int]:
        """(open uploads, what they hold and have not sent, the largest part of it that is of one)
        of an account.
        """
        unsent = [one.unsent for one in self._of.get(account, {}).values()]
        return len(unsent), sum(unsent), max(unsent, default=0)

    def take(
        self, upload_id: str, size_bytes: int | None, *, room_bytes: int, account: str = ""
    ) -> int:
        """Reserve room for an upload and answer how much it now holds.

        Args:
            size_bytes: the declared size; None reserves one step of 64 MiB.
            room_bytes: what may still be promised.

        Raises:
            ResourceExhausted: it does not fit; nothing is reserved.
        """
        wanted = UNKNOWN_SIZE_STEP_BYTES if size_bytes is None else size_bytes
        return self._raise_to(upload_id, wanted, room_bytes, account)

    def extend(
        self,
        upload_id: str,
        written_bytes: int,
        *,
        room_bytes: int,
        size_bytes: int | None = None,
        account: str = "",
    ) -> int:
        """Make sure that `upload_id` holds at least `written_bytes`: the declared size, or whole
        steps.

        Raises:
            ResourceExhausted: there is no room for that; what it holds stays.
        """
        held = self.held(upload_id)
        if written_bytes <= held:
            return held
        if size_bytes is not None:
            return self._raise_to(upload_id, max(size_bytes, written_bytes), room_bytes, account)
        steps = -(-(written_bytes - held) // UNKNOWN_SIZE_STEP_BYTES)
        wanted = held + steps * UNKNOWN_SIZE_STEP_BYTES
        return self._raise_to(upload_id, wanted, room_bytes, account)

    def sent(self, upload_id: str, sent_bytes: int) -> None:
        """So much of an upload has come. One that is not open is passed over."""
        found = self._all.get(upload_id)
        if found is not None:
            self._unsent -= found.unsent
            found.sent = sent_bytes
            self._unsent += found.unsent

    def cut(self, upload_id: str, held_bytes: int) -> None:
        """Let an upload hold at most `held_bytes`, and what it has sent; it stays open."""
        found = self._all.get(upload_id)
        if found is not None:
            self._set(upload_id, found.account, min(found.held, max(held_bytes, found.sent)))

    def restore(
        self, upload_id: str, held_bytes: int, *, account: str = "", sent_bytes: int = 0
    ) -> None:
        """Put back what an upload held before a restart, whether it fits or not."""
        self.release(upload_id)
        self._set(upload_id, account, held_bytes)
        self.sent(upload_id, sent_bytes)

    def release(self, upload_id: str) -> None:
        """Give back what `upload_id` holds: it is not open any more. Idempotent."""
        found = self._all.pop(upload_id, None)
        if found is None:
            return
        self._total -= found.held
        self._unsent -= found.unsent
        if found.account:
            of_account = self._of[found.account]
            del of_account[upload_id]
            if not of_account:
                del self._of[found.account]

    def _raise_to(self, upload_id: str, wanted: int, room_bytes: int, account: str) -> int:
        held = self.held(upload_id)
        if wanted - held > room_bytes:
            raise ResourceExhausted(
                f"the storage element has room for {room_bytes} bytes, {wanted - held} are needed",
                reason="NO_SPACE",
                metadata={"room_bytes": str(room_bytes), "needed_bytes": str(wanted - held)},
            )
        self._set(upload_id, account, max(wanted, held))
        return max(wanted, held)

    def _set(self, upload_id: str, account: str, held: int) -> None:
        found = self._all.get(upload_id)
        if found is None:
            found = self._all[upload_id] = _Reservation(account, 0)
            if account:
                self._of.setdefault(account, {})[upload_id] = found
        self._total += held - found.held
        self._unsent -= found.unsent
        found.held = held
        self._unsent += found.unsent

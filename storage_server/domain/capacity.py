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


class Reservations:
    """The room that each open upload of an element holds. One event loop, no locking.

    The caller passes the room there is (`room()` with `total_bytes` as the reserved part)
    and may therefore ask for as much as that again.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._total = 0

    @property
    def total_bytes(self) -> int:
        """Sum over all open uploads."""
        return self._total

    def held(self, upload_id: str) -> int:
        """What `upload_id` holds; 0 when it is not open."""
        return self._held.get(upload_id, 0)

    def take(self, upload_id: str, size_bytes: int | None, *, room_bytes: int) -> int:
        """Reserve room for an upload and answer how much it now holds.

        Args:
            size_bytes: the declared size; None reserves one step of 64 MiB.
            room_bytes: what may still be promised.

        Raises:
            ResourceExhausted: it does not fit; nothing is reserved.
        """
        wanted = UNKNOWN_SIZE_STEP_BYTES if size_bytes is None else size_bytes
        return self._raise_to(upload_id, wanted, room_bytes)

    def extend(self, upload_id: str, written_bytes: int, *, room_bytes: int) -> int:
        """Make sure that `upload_id` holds at least `written_bytes`, in whole steps.

        Raises:
            ResourceExhausted: there is no room for another step; what it holds stays.
        """
        held = self.held(upload_id)
        if written_bytes <= held:
            return held
        steps = -(-(written_bytes - held) // UNKNOWN_SIZE_STEP_BYTES)
        return self._raise_to(upload_id, held + steps * UNKNOWN_SIZE_STEP_BYTES, room_bytes)

    def restore(self, upload_id: str, held_bytes: int) -> None:
        """Put back what an upload held before a restart, whether it fits or not."""
        self.release(upload_id)
        self._held[upload_id] = held_bytes
        self._total += held_bytes

    def release(self, upload_id: str) -> None:
        """Give back what `upload_id` holds. Idempotent."""
        self._total -= self._held.pop(upload_id, 0)

    def _raise_to(self, upload_id: str, wanted: int, room_bytes: int) -> int:
        held = self.held(upload_id)
        if wanted - held > room_bytes:
            raise ResourceExhausted(
                f"the storage element has room for {room_bytes} bytes, {wanted - held} are needed",
                reason="NO_SPACE",
                metadata={"room_bytes": str(room_bytes), "needed_bytes": str(wanted - held)},
            )
        if wanted > held:
            self._held[upload_id] = wanted
            self._total += wanted - held
        return max(wanted, held)

"""The element's room: what its blobs take, and what open uploads were promised."""

from __future__ import annotations

from collections.abc import Collection

from mesh.errors import ResourceExhausted
from storage_server.domain.allowance import Holding
from storage_server.domain.capacity import FillLevel, Reservations, fill_level, room
from storage_server.element.state import Element


class Space:
    """One event loop, no locking.

    `used_bytes` is the counter in the catalog as last read. An upload that was committed since
    keeps its reservation until a reading that began after it, so nothing is counted too low.

    Args:
        capacity_bytes: what the element may hold.
    """

    def __init__(self, element: Element, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.file_count = 0
        self.free_bytes: int | None = None
        self._element = element
        self._reservations = Reservations()
        self._settling: set[str] = set()
        self._told = FillLevel.OK

    @property
    def reserved_bytes(self) -> int:
        """Promised to open uploads."""
        return self._reservations.total_bytes

    @property
    def fill_level(self) -> FillLevel:
        """Reservations included."""
        return fill_level(
            self._element.mode,
            capacity_bytes=self.capacity_bytes,
            used_bytes=self.used_bytes + self.reserved_bytes,
        )

    def take(self, upload_id: str, size_bytes: int | None, *, account: str) -> int:
        """Reserve room for a new upload and answer how much it holds.

        Args:
            size_bytes: None when it was not declared; then it holds a step of 64 MiB.
            account: whose upload it is.

        Raises:
            ResourceExhausted: the element is FULL, or it does not fit.
        """
        if self.fill_level is FillLevel.FULL:
            raise ResourceExhausted("the storage element is full", reason="NO_SPACE")
        held = self._reservations.take(
            upload_id, size_bytes, room_bytes=self._room(), account=account
        )
        self._tell()
        return held

    def extend(
        self, upload_id: str, written_bytes: int, *, size_bytes: int | None, account: str
    ) -> None:
        """Make sure that an upload holds at least `written_bytes`.

        Args:
            size_bytes: what was declared of the whole.

        Raises:
            ResourceExhausted: there is no room for it.
        """
        self._reservations.extend(
            upload_id,
            written_bytes,
            room_bytes=self._room(),
            size_bytes=size_bytes,
            account=account,
        )
        self._tell()

    def sent(self, upload_id: str, sent_bytes: int) -> None:
        """So much of an upload has come."""
        self._reservations.sent(upload_id, sent_bytes)

    def cut(self, upload_id: str, held_bytes: int = 0) -> None:
        """Let an open upload hold no more than that, and what it has sent."""
        self._reservations.cut(upload_id, held_bytes)
        self._tell()

    def held(self, upload_id: str) -> int:
        """What an upload holds."""
        return self._reservations.held(upload_id)

    def holding(self, account: str) -> Holding:
        """What an account's uploads hold here."""
        count, unsent, largest = self._reservations.of(account)
        free = room(
            self._element.mode,
            capacity_bytes=self.capacity_bytes,
            used_bytes=self.used_bytes,
            reserved_bytes=self.reserved_bytes - self._reservations.unsent_bytes,
        )
        return Holding(count, unsent, largest, free)

    def restore(self, upload_id: str, held_bytes: int, *, account: str, sent_bytes: int) -> None:
        """Put back what an upload held before a restart, and had sent."""
        self._reservations.restore(upload_id, held_bytes, account=account, sent_bytes=sent_bytes)

    def release(self, upload_id: str) -> None:
        """The upload ended without a file. Idempotent."""
        if upload_id not in self._settling:
            self._reservations.release(upload_id)
            self._tell()

    def settle(self, upload_id: str, size_bytes: int) -> None:
        """The upload is a file now: its size counts here until the counter has been read."""
        self._reservations.restore(upload_id, size_bytes, sent_bytes=size_bytes)
        self._settling.add(upload_id)

    def clear(self) -> None:
        """Forget all reservations: another process may write now."""
        self._reservations = Reservations()
        self._settling.clear()

    def settling(self) -> Collection[str]:
        """What the next reading of the counter will include; asked before it."""
        return frozenset(self._settling)

    def counted(self, used_bytes: int, file_count: int, settled: Collection[str]) -> None:
        """The counter was read; `settled` as answered before."""
        self.used_bytes, self.file_count = used_bytes, file_count
        for upload_id in settled:
            self._settling.discard(upload_id)
            self._reservations.release(upload_id)
        self._tell()

    def _room(self) -> int:
        promised = room(
            self._element.mode,
            capacity_bytes=self.capacity_bytes,
            used_bytes=self.used_bytes,
            reserved_bytes=self.reserved_bytes,
        )
        return promised if self.free_bytes is None else min(promised, self.free_bytes)

    def _tell(self) -> None:
        level = self.fill_level
        if level is not self._told:
            self._told = level
            self._element.changed.ring()

"""One pull: a file on its way here, and whoever waits for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mesh.errors import Aborted, DataLoss
from mesh.identity.tickets import Ticket
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.steps.taking import Decided
from storage_server.store.port import SealedBlob

ABANDONED_SECONDS = 45.0
"""A pull that nobody waits for goes on for so long: less than a decision lives, so nothing that was
decided since can meet it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is pulled.

    Attributes:
        ticket: what admin says of the file.
        raw: the ticket as it was signed, for the source.
        state: what it becomes here: INCOMING or COPY.
        step: how the sidecar here must be, and who decided it when.
    """

    ticket: Ticket
    raw: str
    state: FileState
    step: Decided

    @property
    def file_id(self) -> str:
        """The file."""
        return self.step.file_id

    def require_same(self, other: Order) -> None:
        """
        Raises:
            Aborted: `other`, which is under way, is for something else.
        """
        mine, theirs = self.ticket, other.ticket
        if (mine.sha256, mine.size_bytes, mine.source, self.state) != (
            theirs.sha256,
            theirs.size_bytes,
            theirs.source,
            other.state,
        ):
            raise Aborted(
                f"file {self.file_id} is being pulled from {theirs.source}; look again",
                reason="TAKEN_OVER",
            )

    def check_source(self, home: Sidecar) -> None:
        """
        Raises:
            DataLoss: the source has other bytes than the ticket says, or of another namespace.
        """
        if home.file_id != self.file_id:
            raise DataLoss(f"the source gives {home.file_id} instead of {self.file_id}")
        if self.ticket.namespace not in (None, home.namespace):
            raise DataLoss(
                f"what {self.ticket.source} has of {self.file_id} is of another namespace than the"
                " ticket says"
            )
        crcs = {one for one in (self.ticket.crc32c, home.crc32c) if one is not None}
        same = (home.size_bytes, home.sha256) == (self.ticket.size_bytes, self.ticket.sha256)
        if not same or len(crcs) > 1:
            raise DataLoss(
                f"what {self.ticket.source} has of {self.file_id} is not what the ticket says",
                reason="CHECKSUM_MISMATCH",
            )

    def check_blob(self, blob: SealedBlob, home: Sidecar) -> None:
        """
        Raises:
            DataLoss: what came, or lies here, is not what source and ticket say.
        """
        if blob.size_bytes != self.ticket.size_bytes:
            raise DataLoss(
                f"{blob.size_bytes} bytes of {self.file_id} are here, the ticket says"
                f" {self.ticket.size_bytes}",
                reason="SIZE_MISMATCH",
            )
        crcs = {one for one in (blob.crc32c, self.ticket.crc32c, home.crc32c) if one is not None}
        if blob.sha256 != self.ticket.sha256 or len(crcs) > 1:
            raise DataLoss(
                f"the bytes of {self.file_id} that are here are not what the ticket says",
                reason="CHECKSUM_MISMATCH",
            )


class Pull:
    """An order under way.

    Attributes:
        order: the newest one: a repeat brings a fresher ticket and decision.
        copied_bytes: so many are here.
    """

    def __init__(self, order: Order, now: Callable[[], float] = time.monotonic) -> None:
        self.order = order
        self.copied_bytes = 0
        self._now = now
        self._waiting = 0
        self._heard_at = now()

    def renew(self, order: Order) -> None:
        """Go on by a fresher order of the same.

        Raises: as `Order.require_same`.
        """
        order.require_same(self.order)
        self.order = order
        self._heard_at = self._now()

    def abandon(self) -> None:
        """Whoever ordered it has given it up: it ends soon, unless somebody waits for it."""
        self._heard_at = -math.inf

    def require_wanted(self) -> None:
        """
        Raises:
            Aborted: nobody has waited for it for too long.
        """
        if not self._waiting and self._now() - self._heard_at > ABANDONED_SECONDS:
            raise Aborted(
                "nobody waits for this pull any more; what came is kept, ask again to go on",
                reason="STALE",
            )

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Somebody waits for it while the block lasts."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._heard_at = self._now()

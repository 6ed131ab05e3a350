"""The uploads of the element, in one stream and resumable, as one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from mesh.concurrency.hands import Hands
from mesh.concurrency.unbroken import Unbroken
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from storage_server.domain.allowance import Holding
from storage_server.element.space import Space
from storage_server.uploads.intake import Intake
from storage_server.uploads.keeping import UploadKeeping
from storage_server.uploads.reserving import Reserving
from storage_server.uploads.resumable_uploads import ResumableUploads


@dataclass(frozen=True, slots=True)
class ElementUploads:
    """What happens to the element happens to both kinds.

    Attributes:
        space: what they were promised.
        reserving: within which limits.
        intake: begins both, and has those in one stream.
        resumable: the calls of those that take many.
        keeping: what happens to these without their callers.
        unbroken: what of them goes on to its end when its caller leaves.
        hands: into which their bytes come.
    """

    space: Space
    reserving: Reserving
    intake: Intake
    resumable: ResumableUploads
    keeping: UploadKeeping
    unbroken: Unbroken
    hands: Hands = field(default_factory=Hands)

    def totals(self, account: str) -> Holding:
        """What an account's uploads hold here, for another element.

        Raises:
            InvalidArgument: no account.
            Unavailable: this process does not write the element.
        """
        if not account:
            raise InvalidArgument("created_by is empty", field="created_by")
        self.intake.require_writer()
        return self.reserving.holding(account)

    async def take_over(self) -> None:
        """This process has just become the writer: what it remembers may be outdated.

        Raises:
            Unavailable: the database does not answer.
        """
        self.space.clear()
        await self.keeping.forget()
        await self.keeping.restore_room()

    async def let_go(self) -> None:
        """This process is not the writer any more; the next one goes on with what is on record."""
        error = Unavailable("this process is not the writer any more", reason="NOT_WRITER")
        await self.intake.interrupt_all(error)
        await self.keeping.forget()

    async def abort_all(self) -> None:
        """The element left its writing mode for good."""
        error = FailedPrecondition(
            "the element left its writing mode, and open uploads had their time", reason="MODE"
        )
        await self.intake.interrupt_all(error)
        await self.keeping.abort_all()

    async def requests_of(self, file_id: str) -> Collection[tuple[str, str]]:
        """Account and request id of each upload of a file, where it has one.

        Raises:
            Unavailable: the database does not answer.
        """
        found = {*self.intake.requests_of(file_id), *await self.keeping.requests_of(file_id)}
        return [(account, request_id) for account, request_id in sorted(found) if request_id]

    async def end_of_file(self, file_id: str) -> None:
        """End whatever uploads the file with this id, before it is erased.

        Raises:
            Unavailable: storage or database, or it takes too long.
        """
        error = NotFound("the file was erased; its upload has ended", reason="FILE_DELETED")
        await self.intake.end(file_id, error)
        await self.keeping.end(file_id, error)

    def interrupt_idle(self, idle_seconds: float) -> None:
        """End the streams that have been silent for so long; what came stays."""
        self.intake.interrupt_idle(idle_seconds)
        self.keeping.interrupt_idle(idle_seconds)

    def rest_idle(self, idle_seconds: float) -> None:
        """Have stages let go of their descriptors on which nothing came for so long."""
        self.intake.rest_idle(idle_seconds)
        self.keeping.rest_idle(idle_seconds)

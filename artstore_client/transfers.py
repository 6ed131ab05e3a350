"""Files on their way from one element to another: finalized, moved, looked after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from artstore.v1 import ingest_pb2, lifecycle_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE

Transfer = lifecycle_pb2.Transfer

COMPLETED = lifecycle_pb2.TRANSFER_STATE_COMPLETED
# Nothing follows these by itself.
ENDED = frozenset(
    {
        COMPLETED,
        lifecycle_pb2.TRANSFER_STATE_FAILED,
        lifecycle_pb2.TRANSFER_STATE_CANCELLED,
    }
)
# Between two looks at one that is waited for: small files take less than a second.
FIRST_SECONDS, MOST_SECONDS = 0.05, 2.0


class TransferCalls:
    """Transfers of files; get it from `Client.transfers`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls
        self._under_way: set[str] = set()

    async def finalize(
        self, file_id: str, *, target: str = "", expected_revision: int | None = None
    ) -> Transfer:
        """Make a temporary file permanent and have it moved to an element in mode rw.

        It is permanent when this answers; the transfer may take as long as it must (`wait`). A
        repeat answers the transfer that runs or ran.

        Args:
            target: an element in mode rw; empty lets Sequential Fill choose.
            expected_revision: only if the file still has this revision.

        Raises:
            NotFound: no such file, or it was deleted.
            Aborted: reason REVISION_CONFLICT, it was changed meanwhile.
            FailedPrecondition: reason NO_ELEMENT, there is no element in mode rw and nothing has
                changed; or its state, or it was stored as permanent.
        """
        request = ingest_pb2.FinalizeFileRequest(
            file_id=file_id,
            target_storage_element_id=target,
            expected_revision=expected_revision,
        )
        answer = await self._calls.unary(
            self._connection.ingest.FinalizeFile, request, doing="FinalizeFile on ingest"
        )
        return self._noted(answer.transfer)

    async def finalization(self, file_id: str) -> Transfer:
        """The newest finalization of a file.

        Raises:
            NotFound: there is none.
        """
        answer = await self._calls.unary(
            self._connection.ingest.GetFinalization,
            ingest_pb2.GetFinalizationRequest(file_id=file_id),
            doing="GetFinalization on ingest",
        )
        return self._noted(answer.transfer)

    async def move(
        self, file_id: str, *, target: str = "", expected_revision: int | None = None
    ) -> Transfer:
        """Have a file moved to another element (ADMIN).

        While a transfer of it is under way that is answered; a file that is there already is
        answered as COMPLETED.

        Args:
            target: the element; empty lets Sequential Fill choose another one.
            expected_revision: only if the file still has this revision.

        Raises:
            NotFound: no such file, or it was deleted.
            Aborted: reason REVISION_CONFLICT, it was changed meanwhile.
            FailedPrecondition: no element takes it, or its state.
        """
        request = lifecycle_pb2.MoveFileRequest(
            file_id=file_id,
            target_storage_element_id=target,
            expected_revision=expected_revision,
        )
        answer = await self._calls.unary(
            self._connection.lifecycle().MoveFile, request, doing="MoveFile on admin"
        )
        return self._noted(answer.transfer)

    async def show(self, transfer_id: str) -> Transfer:
        """A transfer as it is now.

        Raises:
            NotFound: there is none, or it is of a namespace that is not the caller's.
        """
        return await self._show(transfer_id, 0.0)

    async def _show(self, transfer_id: str, wait_seconds: float) -> Transfer:
        answer = await self._calls.unary(
            self._connection.lifecycle().GetTransfer,
            lifecycle_pb2.GetTransferRequest(transfer_id=transfer_id, wait_seconds=wait_seconds),
            doing="GetTransfer on admin",
            timeout_seconds=self._calls.timeouts.call + wait_seconds,
        )
        return self._noted(answer.transfer)

    async def list(
        self,
        *,
        states: Sequence[lifecycle_pb2.TransferState.ValueType] = (),
        file_id: str = "",
        element_id: str = "",
        page_size: int = MAX_PAGE_SIZE,
    ) -> AsyncGenerator[Transfer, None]:
        """Transfers, newest first (AUDITOR, ADMIN).

        Args:
            states: only in these; empty means all.
            file_id: only of this file; empty means all.
            element_id: only from or to this element; empty means all.
            page_size: transfers asked for at a time, at most 1,000.
        """
        stub = self._connection.lifecycle()

        async def ask(token: str) -> lifecycle_pb2.ListTransfersResponse:
            request = lifecycle_pb2.ListTransfersRequest(
                page_size=page_size,
                page_token=token,
                states=states,
                file_id=file_id,
                storage_element_id=element_id,
            )
            return await self._calls.unary(
                stub.ListTransfers, request, doing="ListTransfers on admin"
            )

        async for page in pages(ask):
            for transfer in page.transfers:
                yield transfer

    async def cancel(self, transfer_id: str) -> Transfer:
        """Give a transfer up (ADMIN).

        Raises:
            NotFound: there is none.
            FailedPrecondition: its file changes its home at this moment, or it has ended.
        """
        answer = await self._calls.unary(
            self._connection.lifecycle().CancelTransfer,
            lifecycle_pb2.CancelTransferRequest(transfer_id=transfer_id),
            doing="CancelTransfer on admin",
        )
        return answer.transfer

    async def retry(self, transfer_id: str) -> Transfer:
        """Try one that failed again (ADMIN); one that is under way or done is answered as it is.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it was cancelled.
        """
        answer = await self._calls.unary(
            self._connection.lifecycle().RetryTransfer,
            lifecycle_pb2.RetryTransferRequest(transfer_id=transfer_id),
            doing="RetryTransfer on admin",
        )
        return answer.transfer

    async def wait(
        self, transfer: Transfer, *, progress: Callable[[Transfer], None] | None = None
    ) -> Transfer:
        """Wait until a transfer has ended, however long that takes; as it is then.

        Args:
            progress: called with each state of it that was seen.

        Raises:
            Unavailable: admin did not answer for `retry_for_seconds`.
        """
        seconds = FIRST_SECONDS
        patience = self._calls.patience()
        looks = 0
        while True:
            if progress is not None:
                progress(transfer)
            if transfer.state in ENDED:
                return transfer
            asked_at = time.monotonic()
            try:
                transfer = await self._show(transfer.transfer_id, seconds)
            except errors.Unavailable as error:
                delay = patience.next_delay(error)
                if delay is None:
                    raise
                await asyncio.sleep(delay)
            else:
                looks += 1
                patience.note(looks)
                if transfer.state not in ENDED:
                    # An admin of an earlier version answers at once.
                    await asyncio.sleep(max(0.0, asked_at + seconds - time.monotonic()))
                seconds = min(seconds * 1.5, MOST_SECONDS)

    def _noted(self, transfer: Transfer) -> Transfer:
        """What searches of this client are to find: the end of what it saw under way.

        One that had ended before says nothing new, and the element may have changed since.
        """
        if transfer.state not in ENDED:
            self._under_way.add(transfer.transfer_id)
        elif transfer.transfer_id in self._under_way:
            self._under_way.discard(transfer.transfer_id)
            self._connection.changes.note(transfer.target_storage_element_id, transfer.change_token)
        return transfer


class Transferring:
    """Finalizing and moving, as methods of a client.

    Attributes:
        transfers: files on their way from one element to another.
    """

    def __init__(self, connection: Connection) -> None:
        self.transfers = TransferCalls(connection)

    async def finalize(
        self,
        file_id: str,
        *,
        target: str = "",
        expected_revision: int | None = None,
        wait: bool = False,
    ) -> Transfer:
        """Make a temporary file permanent; see `TransferCalls.finalize`.

        Args:
            target: an element in mode rw; empty lets Sequential Fill choose.
            expected_revision: only if the file still has this revision.
            wait: until the transfer has ended, COMPLETED or not.
        """
        return await self._begun(
            self.transfers.finalize(file_id, target=target, expected_revision=expected_revision),
            wait,
        )

    async def move(
        self,
        file_id: str,
        *,
        target: str = "",
        expected_revision: int | None = None,
        wait: bool = False,
    ) -> Transfer:
        """Have a file moved to another element (ADMIN); see `TransferCalls.move`.

        Args:
            target: the element; empty lets Sequential Fill choose another one.
            expected_revision: only if the file still has this revision.
            wait: until the transfer has ended, COMPLETED or not.
        """
        return await self._begun(
            self.transfers.move(file_id, target=target, expected_revision=expected_revision), wait
        )

    async def _begun(self, asking: Awaitable[Transfer], wait: bool) -> Transfer:
        transfer = await asking
        return await self.transfers.wait(transfer) if wait else transfer

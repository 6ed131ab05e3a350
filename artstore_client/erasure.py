"""Files that must stay, and files of which nothing may stay (ADMIN)."""

from __future__ import annotations

from artstore.v1 import lifecycle_pb2
from artstore_client.calls.connection import Connection


class ErasureCalls:
    """Legal holds and erasure, of an ADMIN; get it from `Client.erasure`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, file_id: str, *, reason: str = "") -> lifecycle_pb2.SetLegalHoldResponse:
        """Hold a file: it neither expires nor can be deleted, collected or erased.

        Answers when its home and the copies that answer have it; `silent_storage_element_ids` names
        the elements of the others, which are told when they are back.

        Args:
            reason: a code or text of at most 200 bytes, for the audit.

        Raises:
            NotFound: no such file, or it is deleted.
            Unavailable: its element is silent.
        """
        return await self._set(file_id, True, reason)

    async def release(
        self, file_id: str, *, reason: str = ""
    ) -> lifecycle_pb2.SetLegalHoldResponse:
        """Lift the hold; see `hold`."""
        return await self._set(file_id, False, reason)

    async def erase(
        self, file_id: str, *, reason: str, operation_id: str = ""
    ) -> lifecycle_pb2.EraseFileResponse:
        """Erase a file for ever, also one that nobody knows: nothing brings it back.

        Answers when two elements have it on record; `operation` tells what remains to be done on
        elements that were silent.

        Args:
            reason: a code or text of 1 to 200 bytes, which stays and is shown to AUDITORs: write
                nothing there that is to be forgotten.
            operation_id: a name for the operation; empty lets admin make one.

        Raises:
            FailedPrecondition: reason LEGAL_HOLD.
            Unavailable: its element, or every other one, is silent.
        """
        request = lifecycle_pb2.EraseFileRequest(
            file_id=file_id, reason=reason, operation_id=operation_id
        )
        return await self._connection.calls.unary(
            self._connection.lifecycle().EraseFile, request, doing="EraseFile on admin"
        )

    async def _set(
        self, file_id: str, legal_hold: bool, reason: str
    ) -> lifecycle_pb2.SetLegalHoldResponse:
        request = lifecycle_pb2.SetLegalHoldRequest(
            file_id=file_id, legal_hold=legal_hold, reason=reason
        )
        answer = await self._connection.calls.unary(
            self._connection.lifecycle().SetLegalHold, request, doing="SetLegalHold on admin"
        )
        self._connection.changes.note(answer.file.storage_element_id, answer.change_token)
        return answer

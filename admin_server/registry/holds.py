"""Legal holds: set or lifted on the element that is a file's home."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc.aio

from admin_server.elements.registered import RegisteredElements
from admin_server.registry.registry import FileRegistry
from artstore.v1.storage_pb2 import StorageServiceGetFileRequest
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from artstore.v1.transfers_pb2 import Condition, HoldRequest, HoldResponse
from artstore.v1.transfers_pb2_grpc import TransferServiceStub
from artstore.v1.types_pb2 import FILE_STATE_DELETED
from mesh.calls.status import from_rpc_error
from mesh.contract import CALLER_KEY, MAX_REASON_BYTES, REQUEST_ID_KEY
from mesh.errors import ArtStoreError, InvalidArgument, NotFound, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.follower.lookups import ElementMetadata
from mesh.identity.caller import Caller, current_request_id

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub
    from artstore.v1.transfers_pb2_grpc import TransferServiceAsyncStub

CALL_SECONDS = 10.0


class Holds:
    """Finds a file's element and has it hold the file.

    Args:
        channel: to an address, kept by whoever gives it.
        metadata: of a call of an element, with admin's own token for it.
    """

    def __init__(
        self,
        registry: FileRegistry,
        elements: RegisteredElements,
        *,
        channel: Callable[[str], grpc.aio.Channel],
        metadata: ElementMetadata,
    ) -> None:
        self._registry = registry
        self._elements = elements
        self._channel = channel
        self._metadata = metadata

    async def set(
        self, file_id: str, legal_hold: bool, reason: str, caller: Caller
    ) -> HoldResponse:
        """Set or lift the hold; the file then.

        Raises:
            InvalidArgument: the reason is too long.
            NotFound: no such file, it is deleted, or the caller may not see it.
            PermissionDenied: the caller may not write to its namespace.
            Unavailable: its element, or one that may have it, is silent.
        """
        if len(reason.encode()) > MAX_REASON_BYTES or "\0" in reason:
            raise InvalidArgument(
                f"a reason has at most {MAX_REASON_BYTES} bytes of text", field="reason"
            )
        file_id = canonical_file_id(file_id)
        element_id = await self._home(file_id, caller, is_release=not legal_hold)
        request = HoldRequest(
            condition=Condition(file_id=file_id),
            legal_hold=legal_hold,
            reason=reason,
        )
        stub: TransferServiceAsyncStub = TransferServiceStub(self._to(element_id))
        try:
            return await stub.Hold(
                request, metadata=await self._as(caller, element_id), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc

    async def _home(self, file_id: str, caller: Caller, *, is_release: bool) -> str:
        """The element to ask; one that the registry does not know yet is asked for everywhere.

        Of a file that was erased, one that holds it is asked to hold it no more.
        """
        try:
            # A hold comes in time until the file is collected.
            row = (await self._registry.replicas(file_id, caller, show_expired=True))[0]
            element_id, namespace = row["storage_element_id"], row["namespace"]
        except (NotFound, Unavailable) as exc:
            held = await self._registry.held_where_erased(file_id) if is_release else None
            if held is not None:
                element_id, namespace = held["storage_element_id"], held["namespace"]
            elif exc.reason == "FILE_DELETED":
                if await self._registry.is_erased(file_id):
                    raise NotFound(f"file {file_id} was erased for ever") from exc
                raise
            else:
                element_id, namespace = await self._asked(file_id, caller, exc)
        if not caller.may_read(namespace):
            raise NotFound(f"no file {file_id[:64]!r} is registered")
        caller.require_write(namespace)
        return str(element_id)

    async def _asked(self, file_id: str, caller: Caller, unknown: ArtStoreError) -> tuple[str, str]:
        silent: ArtStoreError | None = None
        for element in self._elements.joined():
            if not element.endpoint:
                silent = _not_admitted(element.storage_element_id)
                continue
            stub: StorageServiceAsyncStub = StorageServiceStub(self._to(element.storage_element_id))
            try:
                answer = await stub.GetFile(
                    StorageServiceGetFileRequest(file_id=file_id, show_deleted=True),
                    metadata=await self._as(caller, element.storage_element_id),
                    timeout=CALL_SECONDS,
                )
            except grpc.aio.AioRpcError as exc:
                error = from_rpc_error(exc)
                if not isinstance(error, NotFound):
                    silent = error
                continue
            if answer.file.state == FILE_STATE_DELETED:
                continue
            return element.storage_element_id, answer.file.namespace
        raise silent or unknown

    async def _as(self, caller: Caller, element_id: str) -> tuple[tuple[str, str], ...]:
        return (
            *await self._metadata(element_id),
            (CALLER_KEY, caller.token),
            (REQUEST_ID_KEY, current_request_id.get()),
        )

    def _to(self, element_id: str) -> grpc.aio.Channel:
        endpoint = self._elements.get(element_id).endpoint
        if not endpoint:
            raise _not_admitted(element_id)
        return self._channel(endpoint)


def _not_admitted(element_id: str) -> Unavailable:
    return Unavailable(
        f"storage element {element_id} is sent nothing: its account is suspended or deleted"
    )

"""Sending one step to one element: conditional on the sidecar it was decided on, and on when."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc.aio

from admin_server.elements.registered import RegisteredElements
from admin_server.keys.tickets import TicketIssuer
from admin_server.life.looking import Looked
from admin_server.life.seen import Copy, CopyState
from admin_server.life.steps import (
    Activate,
    Collect,
    Collected,
    Erase,
    Heal,
    MarkMoved,
    Pull,
    SetAside,
    Step,
    SyncCopy,
)
from artstore.v1 import downloads_pb2, transfers_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from artstore.v1.transfers_pb2_grpc import TransferServiceStub
from artstore.v1.types_pb2 import File, FileState
from mesh.calls.status import from_rpc_error
from mesh.contract import CALLER_KEY, REQUEST_ID_KEY, TICKET_KEY
from mesh.elements.damaged import damaged
from mesh.errors import ArtStoreError, DataLoss, FailedPrecondition, Unavailable, Unimplemented
from mesh.follower.lookups import ElementMetadata
from mesh.identity.caller import Caller, current_request_id
from mesh.identity.tickets import Ticket

if TYPE_CHECKING:
    from artstore.v1.storage_pb2_grpc import StorageServiceAsyncStub
    from artstore.v1.transfers_pb2_grpc import TransferServiceAsyncStub

STEP_SECONDS = 20.0
# A pull that says nothing for so long is given up, and is taken up where it was.
PULL_SILENCE_SECONDS = 120.0
# A pull is asked for again before its ticket or its decision ends; the target goes on with what it
# has.
RENEWED_AFTER_SHARE = 0.5

Copied = Callable[[int], Awaitable[None]]


async def unheard(size_bytes: int) -> None:
    """Nobody wants to know how far a pull is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of a step.

    Attributes:
        file: after it; None where nothing is left.
        change_token: of an Activate; empty for others.
        freed_size_bytes: by a Collect.
    """

    file: File | None = None
    change_token: str = ""
    freed_size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasing:
    """Why a file is erased, and who asked for it.

    Attributes:
        namespace: the file's, for elements that have nothing of it; empty if nobody knows it.
    """

    reason: str
    requested_by: str
    namespace: str = ""


class Stepping:
    """Has elements take steps.

    Args:
        channel: to an address, kept by whoever gives it.
        metadata: of a call of an element, with admin's own token for it.
        tickets: for pulls, and for what admin reads itself.
        own_name: admin's account with the elements.
        ticket_life: how long one lives.
        decisions_live: how long elements may take a step after it was decided.
    """

    def __init__(
        self,
        elements: RegisteredElements,
        tickets: TicketIssuer,
        *,
        channel: Callable[[str], grpc.aio.Channel],
        metadata: ElementMetadata,
        own_name: str,
        ticket_life: timedelta,
        decisions_live: timedelta,
    ) -> None:
        self._elements = elements
        self._tickets = tickets
        self._channel = channel
        self._metadata = metadata
        self._own_name = own_name
        self._decisions_live = decisions_live
        self._renew_after = min(ticket_life, decisions_live).total_seconds() * RENEWED_AFTER_SHARE

    async def take(
        self,
        step: Step,
        looked: Looked,
        *,
        copied: Copied = unheard,
        erasing: Erasing | None = None,
        home_sha256: str = "",
    ) -> Taken:
        """Have `step` taken, as decided on what was found.

        Args:
            copied: is told how many bytes of a pull are at its target.
            erasing: for an Erase.
            home_sha256: for a Collect that says so: what `read_back` answered.

        Raises:
            Aborted: reason REVISION_CONFLICT or STALE: look again.
            FailedPrecondition: the element refuses.
            DataLoss: bytes differ.
            Unavailable: the element is silent; the step may have been taken.
        """
        match step:
            case Pull():
                return await self._pull(step, looked, copied)
            case MarkMoved():
                request: Any = transfers_pb2.MarkMovedRequest(moved_to=step.moved_to)
            case SyncCopy():
                home = looked.files[step.home.element_id]
                request = transfers_pb2.SyncCopyRequest(home=home)
            case Activate():
                request = _activate(step, looked)
            case Collect():
                request = transfers_pb2.CollectRequest(
                    step=_COLLECT[step.step], moved_to=step.moved_to, home_sha256=home_sha256
                )
            case Erase():
                if erasing is None:
                    raise FailedPrecondition("a file is erased by EraseFile alone")
                request = transfers_pb2.EraseRequest(
                    reason=erasing.reason,
                    requested_by=erasing.requested_by,
                    namespace=erasing.namespace,
                )
            case Heal() | SetAside():
                raise Unimplemented(f"{type(step).__name__} comes with the elements' life")
        request.condition.CopyFrom(self._condition(step.element_id, step.digest, looked))
        stub = self._stub(step.element_id)
        method: Any = getattr(stub, type(step).__name__)
        try:
            answer = await method(
                request, metadata=await self._as_admin(step.element_id), timeout=STEP_SECONDS
            )
        except grpc.aio.AioRpcError as exc:
            raise _told(step.element_id, looked.file_id, exc) from exc
        return Taken(
            file=answer.file if answer.HasField("file") else None,
            change_token=getattr(answer, "change_token", ""),
            freed_size_bytes=getattr(answer, "freed_size_bytes", 0),
        )

    async def make_permanent(self, element_id: str, looked: Looked, caller: Caller) -> Taken:
        """Have the home kept until it is deleted, on behalf of whoever finalizes the file.

        Raises: as `take`; NotFound and PermissionDenied as the caller's namespaces say.
        """
        there = looked.on(element_id)
        request = transfers_pb2.MakePermanentRequest(
            condition=self._condition(element_id, there.digest if there else "", looked)
        )
        try:
            answer = await self._stub(element_id).MakePermanent(
                request,
                metadata=(*await self._as_admin(element_id), (CALLER_KEY, caller.token)),
                timeout=STEP_SECONDS,
            )
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc
        return Taken(file=answer.file, change_token=answer.change_token)

    async def _pull(self, step: Pull, looked: Looked, copied: Copied) -> Taken:
        """Follow a pull to its end. It is asked for anew, with a new ticket, while it runs."""
        while True:
            taken = await self._pulled(step, looked, copied)
            if taken is not None:
                return taken

    async def _pulled(self, step: Pull, looked: Looked, copied: Copied) -> Taken | None:
        home = looked.files[step.source]
        request = transfers_pb2.PullFileRequest(
            ticket=self._tickets.issue(
                Ticket(
                    file_id=looked.file_id,
                    sha256=home.sha256,
                    size_bytes=home.size_bytes,
                    namespace=home.namespace,
                    crc32c=home.crc32c if home.HasField("crc32c") else None,
                    source=step.source,
                    target=step.element_id,
                    account=self._account_of(step.element_id),
                )
            ),
            state=_FILE_STATES[step.state],
            condition=self._condition(step.element_id, step.digest, looked, now=True),
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + self._renew_after
        call = self._stub(step.element_id).PullFile(
            request, metadata=await self._as_admin(step.element_id)
        )
        try:
            while True:
                patience = min(PULL_SILENCE_SECONDS, until - loop.time())
                try:
                    async with asyncio.timeout(max(patience, 0.01)):
                        answer: Any = await call.read()
                except TimeoutError:
                    if loop.time() >= until:
                        return None
                    raise Unavailable(
                        f"storage element {step.element_id} says nothing of its pull"
                    ) from None
                if answer is grpc.aio.EOF:
                    raise Unavailable(f"storage element {step.element_id} broke off its pull")
                if answer.HasField("file"):
                    return Taken(file=answer.file)
                await copied(answer.copied_size_bytes)
                if loop.time() >= until:
                    return None
        except grpc.aio.AioRpcError as exc:
            raise _told(step.element_id, looked.file_id, exc) from exc
        finally:
            call.cancel()

    async def read_back(self, looked: Looked) -> str:
        """Read the home's bytes, in whatever mode it is, and answer their SHA-256.

        Raises:
            DataLoss: they are not what its sidecar says.
            Unavailable: the home is silent.
        """
        home = looked.home
        if home is None:
            raise Unavailable("the file has no home at the moment")
        stub: StorageServiceAsyncStub = StorageServiceStub(self._to(home.element_id))
        hashed = hashlib.sha256()
        call = stub.Download(
            downloads_pb2.DownloadRequest(file_id=looked.file_id),
            metadata=(
                *await self._as_admin(home.element_id),
                (TICKET_KEY, self._own_ticket(looked, home)),
            ),
        )
        try:
            while True:
                async with asyncio.timeout(PULL_SILENCE_SECONDS):
                    answer: Any = await call.read()
                if answer is grpc.aio.EOF:
                    break
                hashed.update(answer.chunk.data)
        except TimeoutError as exc:
            raise Unavailable(f"storage element {home.element_id} stopped sending") from exc
        except grpc.aio.AioRpcError as exc:
            raise _told(home.element_id, looked.file_id, exc) from exc
        finally:
            call.cancel()
        if hashed.hexdigest() != home.sha256:
            raise DataLoss(f"the bytes of file {looked.file_id} are damaged at its home")
        return home.sha256

    def _own_ticket(self, looked: Looked, home: Copy) -> str:
        """What lets admin read a file where its mode lets nobody."""
        return self._tickets.issue(
            Ticket(
                file_id=looked.file_id,
                sha256=home.sha256,
                size_bytes=looked.files[home.element_id].size_bytes,
                source=home.element_id,
                target=home.element_id,
                account=self._own_name,
            )
        )

    def _condition(
        self, element_id: str, digest: str, looked: Looked, *, now: bool = False
    ) -> transfers_pb2.Condition:
        condition = transfers_pb2.Condition(file_id=looked.file_id, digest=digest)
        decided_at = looked.decided_at
        if now:
            # The same decision, told again while its pull runs: what is there is compared anew.
            decided_at += timedelta(seconds=looked.seconds_ago)
        condition.decided_at.FromDatetime(decided_at)
        condition.taken_until.FromDatetime(decided_at + self._decisions_live)
        return condition

    def _account_of(self, element_id: str) -> str:
        account = self._elements.get(element_id).client_id
        if not account:
            raise FailedPrecondition(
                f"storage element {element_id} has no account of its own, which a ticket is for:"
                " an ADMIN makes one by `artstore element add`"
            )
        return account

    def _stub(self, element_id: str) -> TransferServiceAsyncStub:
        stub: TransferServiceAsyncStub = TransferServiceStub(self._to(element_id))
        return stub

    def _to(self, element_id: str) -> grpc.aio.Channel:
        endpoint = self._elements.get(element_id).endpoint
        if not endpoint:
            raise Unavailable(
                f"storage element {element_id} is sent nothing: its account is suspended or deleted"
            )
        return self._channel(endpoint)

    async def _as_admin(self, element_id: str) -> tuple[tuple[str, str], ...]:
        pairs = tuple(await self._metadata(element_id))
        request_id = current_request_id.get()
        return (*pairs, (REQUEST_ID_KEY, request_id)) if request_id else pairs


def _activate(step: Activate, looked: Looked) -> transfers_pb2.ActivateRequest:
    request = transfers_pb2.ActivateRequest(
        home_since=step.home_since, revision=step.revision, state=_FILE_STATES[step.state]
    )
    if step.finalizes:
        request.finalized_at.FromDatetime(looked.decided_at)
    return request


_FILE_STATES = {
    state: FileState.ValueType(FileState.Value(f"FILE_STATE_{state.value.upper()}"))
    for state in CopyState
}
_OF_A_STORE = ("BLOB_MISSING", "BLOB_SHORT")


def _told(element_id: str, file_id: str, exc: grpc.aio.AioRpcError) -> ArtStoreError:
    """What an element answered; texts of its store may hold the file's name and stay there."""
    error = from_rpc_error(exc)
    if isinstance(error, DataLoss) and error.reason in _OF_A_STORE:
        return damaged(file_id, element_id, error)
    # That is its word about another element.
    if isinstance(error, Unavailable) and error.reason != "ELEMENT_UNAVAILABLE":
        return Unavailable(
            f"storage element {element_id} can't take the step now"
            f" ({error.reason or exc.code().name}); its own log tells more",
            retry_after_seconds=error.retry_after_seconds,
            reason=error.reason,
            metadata=error.metadata,
        )
    return error


_COLLECT: dict[Collected, Any] = {
    Collected.TO_GONE: transfers_pb2.COLLECT_STEP_TO_GONE,
    Collected.TO_DELETED: transfers_pb2.COLLECT_STEP_TO_DELETED,
    Collected.PURGE: transfers_pb2.COLLECT_STEP_PURGE,
    Collected.TO_COPY: transfers_pb2.COLLECT_STEP_TO_COPY,
    Collected.GIVE_UP: transfers_pb2.COLLECT_STEP_GIVE_UP,
}

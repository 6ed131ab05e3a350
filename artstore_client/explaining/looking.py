"""Asking the servers of a mesh about one file. Nothing is changed by it, not even a cache."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from artstore.v1 import (
    audit_pb2,
    cache_pb2,
    elements_pb2,
    lifecycle_pb2,
    query_pb2,
    registry_pb2,
    storage_pb2,
    storage_pb2_grpc,
    types_pb2,
)
from artstore_client import errors
from artstore_client.cache import CacheCalls
from artstore_client.calls.connection import Connection
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.explaining.seen import (
    ElementSeen,
    Indexed,
    Seen,
    Told,
    Word,
    home_of,
    is_file_id,
)
from artstore_client.files.file_ids import canonical_file_id
from artstore_client.files.files import Files
from artstore_client.results import ElementReport
from artstore_client.times import timestamp

T = TypeVar("T")

# Of the audit: more would not fit on a screen.
EVENTS = 5
# An element or a server that is silent must not keep a person waiting for long.
PATIENT_SECONDS = 5.0
_INSTANT = timedelta(milliseconds=1)


class Looking:
    """Looks at a file from all sides, with the rights of the connection's account."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls
        self._seconds = min(PATIENT_SECONDS, connection.timeouts.call)

    async def at(self, written: str) -> Seen:
        """What the servers say of a file now.

        Args:
            written: its id, in any spelling that a request may have.

        Raises:
            ConfigurationError: no storage element is known.
            Unauthenticated: the account is not known.
        """
        file_id = canonical_file_id(written)
        element_ids = list(await self._connection.all_elements())
        reports, answers, registry, events, transfer = await asyncio.gather(
            asyncio.gather(*map(Files(self._connection).report, element_ids)),
            asyncio.gather(*(self._answer(one, file_id) for one in element_ids)),
            _told(self._registered(file_id)),
            _told(self._events(file_id)),
            _told(self._transfer(file_id)),
        )
        elements = self._side_by_side(reports, answers, registry)
        home = home_of(elements)
        home_id = home.storage_element_id if home is not None else ""
        file = home.file if home is not None else None
        locks, policy, indexed = await asyncio.gather(
            _told(self._locks(home_id, file_id)),
            _told(self._policy(file.namespace if file is not None else "")),
            _told(self._indexed(file_id, file)),
        )
        return Seen(
            file_id,
            elements,
            self._connection.directory.doubt,
            registry=registry,
            locks=locks,
            policy=policy,
            indexed=indexed,
            events=events,
            transfer=transfer,
        )

    async def _answer(self, element_id: str, file_id: str) -> types_pb2.File | errors.ArtStoreError:
        request = storage_pb2.StorageServiceGetFileRequest(
            file_id=file_id, show_deleted=True, omit_refresh=True
        )

        async def get(stub: storage_pb2_grpc.StorageServiceAsyncStub) -> types_pb2.File:
            answer = await self._calls.unary(
                stub.GetFile,
                request,
                doing=f"GetFile on {element_id}",
                timeout_seconds=self._seconds,
            )
            return answer.file

        try:
            return await self._connection.at_element(element_id, get)
        except errors.ArtStoreError as error:
            return error

    def _side_by_side(
        self,
        reports: Sequence[ElementReport],
        answers: Sequence[types_pb2.File | errors.ArtStoreError],
        registry: Told[tuple[registry_pb2.Replica, ...]],
    ) -> tuple[ElementSeen, ...]:
        replicas = {one.storage_element_id: one for one in registry.value or ()}
        found = [
            _seen(
                report,
                answer,
                listed=self._connection.directory.last_report(report.storage_element_id),
                replica=replicas.get(report.storage_element_id),
            )
            for report, answer in zip(reports, answers, strict=True)
        ]
        found.sort(
            key=lambda one: (
                one.element is None,
                one.element.priority if one.element is not None else 0,
                one.storage_element_id,
            )
        )
        return tuple(found)

    async def _registered(self, file_id: str) -> tuple[registry_pb2.Replica, ...]:
        try:
            answer = await self._calls.unary(
                self._connection.registry().GetFile,
                registry_pb2.FileRegistryServiceGetFileRequest(file_id=file_id),
                doing="GetFile on admin",
                timeout_seconds=self._seconds,
            )
        except errors.NotFound:
            return ()
        return tuple(answer.replicas)

    async def _events(self, file_id: str) -> tuple[audit_pb2.AuditEvent, ...]:
        if not is_file_id(file_id):
            return ()
        answer = await self._calls.unary(
            self._connection.audit().ListAuditEvents,
            audit_pb2.ListAuditEventsRequest(
                page_size=EVENTS, filter=audit_pb2.AuditFilter(resource=file_id)
            ),
            doing="ListAuditEvents on admin",
            timeout_seconds=self._seconds,
        )
        return tuple(answer.events)

    async def _transfer(self, file_id: str) -> lifecycle_pb2.Transfer | None:
        """Its newest one."""
        try:
            answer = await self._calls.unary(
                self._connection.lifecycle().GetTransfer,
                lifecycle_pb2.GetTransferRequest(file_id=file_id),
                doing="GetTransfer on admin",
                timeout_seconds=self._seconds,
            )
        except errors.NotFound:
            return None
        return answer.transfer

    async def _locks(self, home_id: str, file_id: str) -> tuple[cache_pb2.Lock, ...]:
        if not home_id:
            return ()
        held = await CacheCalls(self._connection, home_id).locks()
        return tuple(one for one in held if one.file_id in ("", file_id))

    async def _policy(self, namespace: str) -> lifecycle_pb2.Policy:
        if not namespace:
            return lifecycle_pb2.Policy()
        answer = await self._calls.unary(
            self._connection.lifecycle().GetPolicy,
            lifecycle_pb2.GetPolicyRequest(namespace=namespace),
            doing="GetPolicy on admin",
            timeout_seconds=self._seconds,
        )
        return answer.policy

    async def _indexed(self, file_id: str, file: types_pb2.File | None) -> Indexed:
        """What a search finds that asks for the moment at which the file was made."""
        if not is_file_id(file_id):
            raise errors.NotFound("search is asked by ids, and this is none")
        page = await self._calls.unary(
            self._connection.query.SearchFiles,
            query_pb2.SearchFilesRequest(
                filters=_only(file_id, file), page_size=MAX_PAGE_SIZE, omit_facets=True
            ),
            doing="SearchFiles on query",
            timeout_seconds=self._seconds,
        )
        results = [one.file for one in page.results if one.file.file_id == file_id]
        if not results and page.next_page_token:
            raise errors.ResourceExhausted("too many files were made at the very same moment")
        found = results[0] if results else None
        element_id = (file or found or types_pb2.File()).storage_element_id
        status = query_pb2.GetSyncStatusResponse()
        if element_id:
            status = await self._calls.unary(
                self._connection.query.GetSyncStatus,
                query_pb2.GetSyncStatusRequest(storage_element_id=element_id),
                doing="GetSyncStatus on query",
                timeout_seconds=self._seconds,
            )
        following = next(iter(status.elements), None)
        return Indexed(found, following, page.index_complete)


async def _told(asking: Awaitable[T | None]) -> Told[T]:
    try:
        return Told(await asking)
    except errors.ArtStoreError as error:
        return Told(error=error)


def _seen(
    report: ElementReport,
    answer: types_pb2.File | errors.ArtStoreError,
    *,
    listed: elements_pb2.StorageElement | None,
    replica: registry_pb2.Replica | None,
) -> ElementSeen:
    """One element, put together from what it and admin said."""
    file = answer if isinstance(answer, types_pb2.File) else None
    error = answer if isinstance(answer, errors.ArtStoreError) else None
    word = _word(file, error)
    return ElementSeen(
        report.storage_element_id,
        word,
        file=file,
        error=error if word in (Word.SILENT, Word.REFUSED) else None,
        element=report.element or listed,
        listed=listed,
        replica=replica,
        went_to=error.metadata.get("moved_to", "") if error is not None else "",
    )


def _word(file: types_pb2.File | None, error: errors.ArtStoreError | None) -> Word:
    if file is not None:
        return Word.DELETED if file.state == types_pb2.FILE_STATE_DELETED else Word.HAS
    if isinstance(error, errors.NotFound):
        return Word.DELETED if error.reason == "FILE_DELETED" else Word.NOT_THERE
    return Word.SILENT if isinstance(error, errors.Unavailable) else Word.REFUSED


def _only(file_id: str, file: types_pb2.File | None) -> query_pb2.SearchFilters:
    """Filters that few other files meet, if any: when it was made, and how large it is."""
    created = (
        file.created_at.ToDatetime(tzinfo=UTC)
        if file is not None
        else datetime.fromtimestamp((UUID(file_id).int >> 80) / 1000, UTC)
    )
    return query_pb2.SearchFilters(
        created_after_at=timestamp(created),
        created_before_at=timestamp(created + _INSTANT),
        min_size_bytes=file.size_bytes if file is not None else None,
        max_size_bytes=file.size_bytes if file is not None else None,
    )

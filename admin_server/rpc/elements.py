"""StorageElementService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from admin_server.elements.creation import Creation
from admin_server.elements.element import NEVER, RegisteredElement, Removed, Report
from admin_server.elements.registered import RegisteredElements
from admin_server.rpc.times import timestamp
from artstore.v1 import elements_pb2, types_pb2
from mesh.contract import REPORT_INTERVAL_SECONDS
from mesh.elements.disclosure import told_to
from mesh.errors import InvalidArgument, Unimplemented
from mesh.identity.caller import current_caller
from mesh.paging import AskedPage

_NO_FAILURE_DOMAINS = "failure domains are not served yet; leave failure_domain out"


class ElementServicer:
    """The storage elements of the mesh."""

    def __init__(
        self,
        directory: RegisteredElements,
        creation: Creation,
        audited: Callable[[str], str],
    ) -> None:
        """`audited` answers how far the audit is in an element's feed."""
        self._directory = directory
        self._creation = creation
        self._audited = audited

    async def CreateStorageElement(
        self, request: elements_pb2.CreateStorageElementRequest, context: Any
    ) -> elements_pb2.CreateStorageElementResponse:
        """Make one, and its account."""
        if request.failure_domain:
            raise Unimplemented(_NO_FAILURE_DOMAINS)
        element, client_id, secret = await self._creation.create(
            current_caller(),
            request.storage_element_id,
            endpoint=request.endpoint,
            priority=request.priority if request.HasField("priority") else None,
        )
        made = self._message(element)
        made.endpoint = element.report.endpoint
        return elements_pb2.CreateStorageElementResponse(
            element=made, client_id=client_id, client_secret=secret
        )

    async def AdmitStorageElement(
        self, request: elements_pb2.AdmitStorageElementRequest, context: Any
    ) -> elements_pb2.AdmitStorageElementResponse:
        """Accept what waits of it."""
        element = await self._directory.admit(
            request.storage_element_id, store_id=request.store_id, endpoint=request.endpoint
        )
        return elements_pb2.AdmitStorageElementResponse(element=self._message(element))

    async def ReportStorageElement(
        self, request: elements_pb2.ReportStorageElementRequest, context: Any
    ) -> elements_pb2.ReportStorageElementResponse:
        """Note a report."""
        if not request.HasField("report"):
            raise InvalidArgument("report is missing", field="report")
        element = await self._directory.report(_report(request.report), current_caller().subject)
        return elements_pb2.ReportStorageElementResponse(
            element=self._message(element),
            report_interval_seconds=REPORT_INTERVAL_SECONDS,
            peer_storage_element_ids=self._directory.peers_of(element.storage_element_id),
            audited_cursor=self._audited(element.storage_element_id),
        )

    async def GetStorageElement(
        self, request: elements_pb2.GetStorageElementRequest, context: Any
    ) -> elements_pb2.GetStorageElementResponse:
        """Describe one."""
        element = self._directory.get(request.storage_element_id)
        return elements_pb2.GetStorageElementResponse(element=self._message(element))

    async def ListStorageElements(
        self, request: elements_pb2.ListStorageElementsRequest, context: Any
    ) -> elements_pb2.ListStorageElementsResponse:
        """List them in the order they are filled in."""
        asked = AskedPage.of(request, ("elements", request.mode), int, str)
        elements = self._directory.list(_mode(request.mode))
        following = [e for e in elements if asked.after is None or e.order > asked.after]
        page, token = asked.page(following, lambda element: element.order)
        return elements_pb2.ListStorageElementsResponse(
            elements=[self._message(element) for element in page],
            next_page_token=token,
            total_size=len(elements),
        )

    async def UpdateStorageElement(
        self, request: elements_pb2.UpdateStorageElementRequest, context: Any
    ) -> elements_pb2.UpdateStorageElementResponse:
        """Change its place in the order."""
        if request.HasField("failure_domain"):
            raise Unimplemented(_NO_FAILURE_DOMAINS)
        if request.HasField("priority"):
            element = await self._directory.decide_priority(
                request.storage_element_id, request.priority
            )
        else:
            element = self._directory.get(request.storage_element_id)
        return elements_pb2.UpdateStorageElementResponse(element=self._message(element))

    async def WatchStorageElements(
        self, request: elements_pb2.WatchStorageElementsRequest, context: Any
    ) -> AsyncIterator[elements_pb2.WatchStorageElementsResponse]:
        """Follow them."""
        async for event in self._directory.watch():
            message = elements_pb2.WatchStorageElementsResponse()
            if isinstance(event, RegisteredElement):
                message.changed.CopyFrom(self._message(event))
            elif isinstance(event, Removed):
                message.removed.storage_element_id = event.storage_element_id
            else:
                message.snapshot_end.element_count = event.count
            yield message

    def _message(self, element: RegisteredElement) -> elements_pb2.StorageElement:
        report = element.report
        message = elements_pb2.StorageElement(
            storage_element_id=report.storage_element_id,
            store_id=report.store_id,
            endpoint=element.endpoint,
            mode=_MODE_VALUES[report.mode],
            priority=element.priority,
            capacity_bytes=report.capacity_bytes,
            used_bytes=report.used_bytes,
            reserved_bytes=report.reserved_bytes,
            file_count=report.file_count,
            fill_level=_FILL_LEVEL_VALUES[report.fill_level],
            writable=report.writable,
            unwritable_reason=report.unwritable_reason,
            is_writer=report.is_writer,
            backend=_BACKEND_VALUES[report.backend],
            awaiting_store_id=element.awaiting.store_id,
            awaiting_endpoint=element.awaiting.endpoint,
            epoch=report.epoch,
            head_position=report.sequence,
            reported_at=timestamp(element.reported_at) if element.reported_at > NEVER else None,
            registered_at=timestamp(element.registered_at),
            healthy=self._directory.is_healthy(element),
            client_id=element.client_id,
            followers_behind=report.followers_behind,
        )
        return told_to(current_caller(), message)


def _report(message: elements_pb2.StorageElementReport) -> Report:
    return Report(
        storage_element_id=message.storage_element_id,
        store_id=message.store_id,
        endpoint=message.endpoint,
        mode=_mode(message.mode),
        priority=message.priority,
        capacity_bytes=message.capacity_bytes,
        used_bytes=message.used_bytes,
        reserved_bytes=message.reserved_bytes,
        file_count=message.file_count,
        fill_level=_FILL_LEVELS.get(message.fill_level, "unknown"),
        writable=message.writable,
        unwritable_reason=message.unwritable_reason,
        is_writer=message.is_writer,
        backend=_BACKENDS.get(message.backend, ""),
        epoch=message.epoch,
        sequence=message.head_position,
        followers_behind=tuple(message.followers_behind),
        peers=tuple(message.peer_storage_element_ids),
    )


_MODES: dict[int, str] = {
    value: name.removeprefix("ELEMENT_MODE_").lower()
    for name, value in types_pb2.ElementMode.items()
    if value != types_pb2.ELEMENT_MODE_UNSPECIFIED
}
_FILL_LEVELS: dict[int, str] = {
    value: name.removeprefix("FILL_LEVEL_").lower() if value else ""
    for name, value in types_pb2.FillLevel.items()
}
_BACKENDS: dict[int, str] = {
    types_pb2.STORAGE_BACKEND_LOCAL: "local",
    types_pb2.STORAGE_BACKEND_S3: "s3",
}
_BACKEND_VALUES = {
    word: types_pb2.StorageBackend.ValueType(value) for value, word in _BACKENDS.items()
}
_MODE_VALUES = {word: types_pb2.ElementMode.ValueType(value) for value, word in _MODES.items()}
_MODE_VALUES[""] = types_pb2.ELEMENT_MODE_UNSPECIFIED
_BACKEND_VALUES[""] = types_pb2.STORAGE_BACKEND_UNSPECIFIED
_FILL_LEVEL_VALUES = {
    word: types_pb2.FillLevel.ValueType(value) for value, word in _FILL_LEVELS.items()
}


def _mode(value: int) -> str:
    """The mode as a word, empty for UNSPECIFIED."""
    if value == types_pb2.ELEMENT_MODE_UNSPECIFIED:
        return ""
    word = _MODES.get(value)
    if word is None:
        raise InvalidArgument(f"mode {value} is not known", field="mode")
    return word

"""Where elements are heard of: their reports in Valkey, and admin's list."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf import json_format

from artstore.v1 import elements_pb2, elements_pb2_grpc, types_pb2
from mesh.calls.admins_lists import pages
from mesh.contract import MAX_PAGE_SIZE
from mesh.elements.admitted import Admitted
from mesh.elements.seen import Mode, SeenElement
from mesh.identity.credentials import ServiceToken
from mesh.redis import translated

if TYPE_CHECKING:
    from artstore.v1.elements_pb2_grpc import StorageElementServiceAsyncStub

REPORT_KEY_PREFIX = "artstore:element:"
REPORT_CHANNEL = "artstore:elements"
CHANGES_CHANNEL = "artstore:changes"
CALL_SECONDS = 2.0
FIRST_TOKEN_SECONDS = 1.0

_MODES = {
    types_pb2.ELEMENT_MODE_EDIT: Mode.EDIT,
    types_pb2.ELEMENT_MODE_RW: Mode.RW,
}

_log = structlog.stdlib.get_logger(__name__)


def element_of(
    report: elements_pb2.StorageElement | elements_pb2.StorageElementReport,
    *,
    healthy: bool | None = None,
) -> SeenElement:
    """The element of a report, or of an entry of admin's list."""
    return SeenElement(
        element_id=report.storage_element_id,
        endpoint=report.endpoint,
        mode=_MODES.get(report.mode, Mode.OTHER),
        priority=report.priority,
        capacity_bytes=report.capacity_bytes,
        used_bytes=report.used_bytes,
        reserved_bytes=report.reserved_bytes,
        writable=report.writable,
        is_writer=report.is_writer,
        full=report.fill_level == types_pb2.FILL_LEVEL_FULL,
        reported_at=report.reported_at.seconds + report.reported_at.nanos / 1e9,
        healthy=healthy,
        unwritable_reason=report.unwritable_reason,
    )


class RedisReports:
    """Reports that admitted elements keep alive in Redis, one key each."""

    def __init__(self, client: Any, admitted: Admitted) -> None:
        self._client = client
        self._admitted = admitted
        # A report is renewed less often than it is read.
        self._decoded: dict[bytes | str, elements_pb2.StorageElementReport | None] = {}

    async def read(self, element_ids: Collection[str]) -> list[SeenElement]:
        """The reports of these elements; those without one, or not admitted, are left out.

        Raises:
            Unavailable: Redis is down or silent.
        """
        if not element_ids:
            return []
        with translated("element reports"):
            values = await self._client.mget([REPORT_KEY_PREFIX + name for name in element_ids])
        known = self._decoded
        self._decoded = {
            value: known[value] if value in known else _decoded(value)
            for value in values
            if value is not None
        }
        reports = [report for report in self._decoded.values() if report is not None]
        return [element_of(report) for report in reports if report in self._admitted]

    async def find_ids(self) -> set[str]:
        """Ids of all elements that have a report. Walks all keys, so it is asked rarely.

        Raises:
            Unavailable: Redis is down or silent.
        """
        found: set[str] = set()
        with translated("element reports"):
            async for key in self._client.scan_iter(match=REPORT_KEY_PREFIX + "*", count=1000):
                text = key.decode() if isinstance(key, bytes) else key
                found.add(text.removeprefix(REPORT_KEY_PREFIX))
        return found


def _decoded(value: bytes | str) -> elements_pb2.StorageElementReport | None:
    report = elements_pb2.StorageElementReport()
    try:
        json_format.Parse(value, report, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as exc:
        _log.warning("unreadable report of an element", reason=str(exc)[:200])
        return None
    return report if report.storage_element_id else None


class AdminReports:
    """The elements that admin has admitted, with their last reports."""

    def __init__(
        self, channel: grpc.aio.Channel, account: ServiceToken, admitted: Admitted
    ) -> None:
        self._admitted = admitted
        self._stub: StorageElementServiceAsyncStub = elements_pb2_grpc.StorageElementServiceStub(
            channel
        )
        self._account = account

    async def read(self) -> list[SeenElement]:
        """All elements that have ever reported.

        Raises:
            Unavailable: admin is down or silent, or has given no token.
        """
        await self._account.ready(FIRST_TOKEN_SECONDS)
        request = elements_pb2.ListStorageElementsRequest(page_size=MAX_PAGE_SIZE)
        found: list[elements_pb2.StorageElement] = []
        async for page in pages(
            self._stub.ListStorageElements, request, self._account, seconds=CALL_SECONDS
        ):
            found += (one for one in page.elements if one.endpoint)
        self._admitted.replace(found)
        return [element_of(one, healthy=one.healthy) for one in found]

"""Where reports of elements come from: Redis, and admin's list."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc
import structlog
from google.protobuf import json_format

from artstore.v1 import elements_pb2, elements_pb2_grpc, types_pb2
from ingest_server.placement.selection import Element, Mode
from mesh.elements.discovery import REPORT_KEY_PREFIX, reports_of_admin
from mesh.errors import Unauthenticated
from mesh.identity.credentials import ServiceToken
from mesh.redis import translated

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
) -> Element:
    """What placement needs of a report."""
    return Element(
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
    """Reports that elements keep alive in Redis, one key each."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def read(self, element_ids: Collection[str]) -> list[Element]:
        """The reports of these elements; those without one are left out.

        Raises:
            Unavailable: Redis is down or silent.
        """
        if not element_ids:
            return []
        with translated("element reports"):
            values = await self._client.mget([REPORT_KEY_PREFIX + name for name in element_ids])
        return [element for value in values if (element := _decoded(value)) is not None]

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


def _decoded(value: bytes | str | None) -> Element | None:
    if value is None:
        return None
    report = elements_pb2.StorageElementReport()
    try:
        json_format.Parse(value, report, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as exc:
        _log.warning("unreadable report of an element", reason=str(exc)[:200])
        return None
    return element_of(report) if report.storage_element_id else None


class AdminReports:
    """The elements that admin knows, with their last reports."""

    def __init__(self, channel: grpc.aio.Channel, account: ServiceToken) -> None:
        self._stub: elements_pb2_grpc.StorageElementServiceAsyncStub = (
            elements_pb2_grpc.StorageElementServiceStub(channel)
        )
        self._account = account

    async def read(self) -> list[Element]:
        """All elements.

        Raises:
            Unavailable: admin is down or silent, or has given no token.
        """
        await self._account.ready(FIRST_TOKEN_SECONDS)
        try:
            reports = await reports_of_admin(self._stub, self._account.metadata())
        except Unauthenticated:
            self._account.refused()
            raise
        return [element_of(report, healthy=report.healthy) for report in reports]

"""Telling Redis every two seconds, admin every five, and both of a change, how the element is.

A standby stays silent as long as the writer is heard of: both have the element's name, and
uploads must not be sent to the one that cannot take them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf import json_format

from artstore.v1 import elements_pb2
from artstore.v1.elements_pb2_grpc import StorageElementServiceStub
from mesh.calls.status import from_rpc_error
from mesh.concurrency.backoff import Backoff
from mesh.concurrency.bell import Bell
from mesh.contract import REPORT_INTERVAL_SECONDS
from mesh.elements.discovery import REPORT_CHANNEL, REPORT_KEY_PREFIX
from mesh.elements.feed_cursor import FeedCursor, decode
from mesh.errors import ArtStoreError, InvalidArgument, Unavailable
from mesh.identity.credentials import ServiceToken
from mesh.redis import translated
from storage_server.element.peers import keep_peers
from storage_server.element.state import Element
from storage_server.reporting.description import Description

if TYPE_CHECKING:
    from artstore.v1.elements_pb2_grpc import StorageElementServiceAsyncStub

INTERVAL_SECONDS = 2.0
LIFE_SECONDS = 10
CALL_SECONDS = 2.0
# A burst of changes becomes one report.
BURST_SECONDS = 0.05
START_SECONDS = 0.02
RETRY_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Reports:
    """Run `to_redis` and `to_admin` as background tasks."""

    def __init__(
        self,
        element: Element,
        description: Description,
        *,
        redis: Any,
        admin: grpc.aio.Channel,
        account: ServiceToken,
    ) -> None:
        self._element = element
        self._description = description
        self._redis = redis
        self._admin: StorageElementServiceAsyncStub = StorageElementServiceStub(admin)
        self._account = account
        self._audited = FeedCursor()
        self._key = REPORT_KEY_PREFIX + element.element_id
        self._other_writer_until = 0.0
        self._told: dict[str, str] = {}
        # The address of which it was said that it waits to be admitted.
        self._waiting = ""
        # Of no report yet, so that the first one is news, whatever rang before anybody listened.
        self._last_reason: str | None = None
        self._changes = element.changed.listen()
        self._admin_due = Bell()

    def audited(self) -> FeedCursor:
        """How far the audit is in the element's feed, as admin said last; empty before that."""
        return self._audited

    async def to_redis(self) -> None:
        """Report every two seconds and on each change, until cancelled."""
        await self._listening()
        while True:
            changed = self._changes.take()
            await self._description.look()
            # Not everything that turns it is an event: the database falls silent, say.
            reason = self._description.unwritable_reason
            changed = changed or reason != self._last_reason
            self._last_reason = reason
            if changed:
                self._admin_due.ring()
            await self._tolerate("redis", self._set_report(changed=changed))
            await self._changes.wait(INTERVAL_SECONDS, burst_seconds=BURST_SECONDS)

    async def to_admin(self) -> None:
        """Report every five seconds and on each change, until cancelled."""
        await self._listening()
        backoff, due = Backoff(RETRY_SECONDS), self._admin_due.listen()
        while True:
            due.take()
            known = True
            if self._speaks():
                known = await self._tolerate("admin", self._report())
            await due.wait(REPORT_INTERVAL_SECONDS if known else backoff.delay())

    async def _listening(self) -> None:
        """Nobody should be told of an address before it can be called."""
        while not self._description.endpoint:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(START_SECONDS)

    def _speaks(self) -> bool:
        return self._element.is_writer or time.monotonic() >= self._other_writer_until

    async def _set_report(self, *, changed: bool) -> None:
        message = self._description.report()
        with translated("the element's report"):
            if not self._element.is_writer:
                await self._listen_for_writer(message.endpoint)
                if not self._speaks():
                    return
            report = json_format.MessageToJson(
                message, preserving_proto_field_name=True, indent=None
            )
            await self._redis.set(self._key, report, ex=LIFE_SECONDS)
            if changed:
                await self._redis.publish(REPORT_CHANNEL, report)

    async def _listen_for_writer(self, endpoint: str) -> None:
        value = await self._redis.get(self._key)
        if value is None:
            return
        other = elements_pb2.StorageElementReport()
        with suppress(json_format.ParseError, UnicodeDecodeError):
            json_format.Parse(value, other, ignore_unknown_fields=True)
        if other.is_writer and other.endpoint != endpoint:
            self._other_writer_until = time.monotonic() + LIFE_SECONDS

    async def _report(self) -> None:
        request = elements_pb2.ReportStorageElementRequest(report=self._description.report())
        try:
            answer = await self._admin.ReportStorageElement(
                request, metadata=self._account.metadata(), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as exc:
            if exc.code() == grpc.StatusCode.UNAUTHENTICATED:
                self._account.refused()
            raise from_rpc_error(exc) from exc
        with suppress(InvalidArgument):
            self._audited = decode(answer.audited_cursor)
        await keep_peers(self._element, answer.peer_storage_element_ids)
        waiting = answer.element.awaiting_endpoint
        if waiting == request.report.endpoint and waiting != self._waiting:
            _log.warning(
                "nobody is sent to this address before an ADMIN admits it: artstore element admit"
                f" {self._element.element_id}",
                endpoint=waiting,
                admitted=answer.element.endpoint,
            )
        self._waiting = waiting

    async def _tolerate(self, whom: str, report: Any) -> bool:
        """Await `report`; a failure is logged once until it works again."""
        try:
            await report
        except ArtStoreError as exc:
            if whom not in self._told:
                level = "info" if isinstance(exc, Unavailable) else "warning"
                getattr(_log, level)("report not taken", whom=whom, reason=exc.message)
            self._told[whom] = exc.message
            return False
        self._told.pop(whom, None)
        return True

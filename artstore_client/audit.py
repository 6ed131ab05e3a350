"""The audit: who did what in the mesh."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime

from artstore.v1 import audit_pb2
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.times import timestamp


class AuditCalls:
    """Reads it, for an AUDITOR or ADMIN of all namespaces; get it from `Client.audit`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls

    async def list(
        self,
        *,
        actor: str = "",
        action: str = "",
        resource: str = "",
        after: datetime | None = None,
        before: datetime | None = None,
        page_size: int = MAX_PAGE_SIZE,
    ) -> AsyncGenerator[audit_pb2.AuditEvent, None]:
        """Events, newest first.

        Args:
            actor: only of this account.
            action: only this one: an RPC, as `SuspendServiceAccount`, or an event of a feed, as
                `file.deleted`.
            resource: only of this file, account or element.
            after: that occurred then or later.
            before: that occurred before.
            page_size: events asked for at a time, at most 1,000.
        """
        wanted = _filter(actor, action, resource, after, before)

        async def ask(token: str) -> audit_pb2.ListAuditEventsResponse:
            return await self._calls.unary(
                self._connection.audit().ListAuditEvents,
                audit_pb2.ListAuditEventsRequest(
                    page_size=page_size, page_token=token, filter=wanted
                ),
                doing="ListAuditEvents on admin",
            )

        async for page in pages(ask):
            for event in page.events:
                yield event

    async def verify(self, from_sequence: int | None = None) -> audit_pb2.VerifyAuditEventsResponse:
        """Walk the chain of hashes; the answer names the first event that does not fit.

        Args:
            from_sequence: begin there; the hash before it is taken as it is. Default: the first.
        """
        return await self._calls.unary(
            self._connection.audit().VerifyAuditEvents,
            audit_pb2.VerifyAuditEventsRequest(from_sequence=from_sequence),
            doing="VerifyAuditEvents on admin",
            timeout_seconds=self._connection.timeouts.operation,
        )

    async def export(
        self,
        from_sequence: int | None = None,
        *,
        actor: str = "",
        action: str = "",
        resource: str = "",
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> AsyncGenerator[audit_pb2.AuditEvent, None]:
        """Events that are on record now, oldest first; takes what `list` takes."""
        pieces = self._calls.stream(
            self._connection.audit().ExportAuditEvents,
            audit_pb2.ExportAuditEventsRequest(
                from_sequence=from_sequence,
                filter=_filter(actor, action, resource, after, before),
            ),
            doing="ExportAuditEvents on admin",
            idle_seconds=self._connection.timeouts.operation,
        )
        async for piece in pieces:
            for event in piece.events:
                yield event


def _filter(
    actor: str, action: str, resource: str, after: datetime | None, before: datetime | None
) -> audit_pb2.AuditFilter:
    return audit_pb2.AuditFilter(
        actor=actor,
        action=action,
        resource=resource,
        occurred_after_at=timestamp(after),
        occurred_before_at=timestamp(before),
    )

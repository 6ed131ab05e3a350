"""AuditService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from admin_server.audit.chain import Chain, Filter, kept
from admin_server.audit.event import Kept, Outcome
from admin_server.audit.kept_head import KeptHead
from admin_server.audit.refusals import Refusal, RefusalRecord
from admin_server.audit.verification import verify
from admin_server.clock import utc_now
from admin_server.rpc.times import timestamp
from artstore.v1 import audit_pb2
from mesh.errors import InvalidArgument
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Role, current_caller
from mesh.paging import AskedPage, wrong_token

MAX_REFUSALS = 500
MAX_REFUSAL_ID_BYTES = 64
_OUTCOMES = {
    Outcome.UNSPECIFIED: audit_pb2.AUDIT_OUTCOME_UNSPECIFIED,
    Outcome.DONE: audit_pb2.AUDIT_OUTCOME_DONE,
    Outcome.REFUSED: audit_pb2.AUDIT_OUTCOME_REFUSED,
    Outcome.FAILED: audit_pb2.AUDIT_OUTCOME_FAILED,
}


class AuditServicer:
    """Who did what."""

    def __init__(self, chain: Chain, head: KeptHead, refusals: RefusalRecord) -> None:
        self._chain = chain
        self._head = head
        self._refusals = refusals

    async def ListAuditEvents(
        self, request: audit_pb2.ListAuditEventsRequest, context: Any
    ) -> audit_pb2.ListAuditEventsResponse:
        """List events, newest first."""
        matching = _filter(request.filter)
        made_for = ("audit", *matching.where())
        # A sequence may be longer than the numbers that a token holds.
        asked = AskedPage.of(request, made_for, str)
        found, total = await self._chain.newest(
            matching, before=_sequence(asked.after), limit=asked.size + 1
        )
        events, token = asked.page(found, lambda event: (str(event.sequence),))
        return audit_pb2.ListAuditEventsResponse(
            events=[_message(event) for event in events],
            next_page_token=token,
            total_size=total,
        )

    async def VerifyAuditEvents(
        self, request: audit_pb2.VerifyAuditEventsRequest, context: Any
    ) -> audit_pb2.VerifyAuditEventsResponse:
        """Walk the chain."""
        first = request.from_sequence if request.HasField("from_sequence") else 1
        verdict = await verify(self._chain, await self._head.read(), first=first)
        return audit_pb2.VerifyAuditEventsResponse(
            valid=verdict.broken is None,
            verified_count=verdict.verified,
            first_broken_sequence=verdict.broken,
        )

    async def ExportAuditEvents(
        self, request: audit_pb2.ExportAuditEventsRequest, context: Any
    ) -> AsyncIterator[audit_pb2.ExportAuditEventsResponse]:
        """Stream events that are on record now."""
        first = request.from_sequence if request.HasField("from_sequence") else 1
        if first < 1:
            raise InvalidArgument("from_sequence is 1 or more", field="from_sequence")
        head = await self._chain.head()
        async for rows in self._chain.rows(first, head.sequence, _filter(request.filter)):
            yield audit_pb2.ExportAuditEventsResponse(events=[_message(kept(row)) for row in rows])

    async def RecordRefusals(
        self, requests: AsyncIterator[audit_pb2.RecordRefusalsRequest], context: Any
    ) -> audit_pb2.RecordRefusalsResponse:
        """Put refusals of a server on record."""
        count = 0
        async for request in requests:
            await self.record(request)
            count += len(request.refusals)
        return audit_pb2.RecordRefusalsResponse(recorded_count=count)

    async def record(self, request: audit_pb2.RecordRefusalsRequest) -> None:
        """Put a piece of it on record.

        Raises:
            InvalidArgument: too many, or one without a good id or count.
            Unavailable: the database does not answer; tell the same again.
        """
        if len(request.refusals) > MAX_REFUSALS:
            raise InvalidArgument(f"at most {MAX_REFUSALS} at a time", field="refusals")
        told = [_refusal(one) for one in request.refusals]
        caller = current_caller()
        told_by = "" if caller.role is Role.ANONYMOUS else caller.subject
        await self._refusals.add(
            request.server, told, told_by=told_by, dropped=request.dropped_count
        )


def _filter(message: audit_pb2.AuditFilter) -> Filter:
    for field in ("actor", "action", "resource"):
        if "\0" in getattr(message, field):
            raise InvalidArgument("must not hold NUL", field=f"filter.{field}")
    return Filter(
        actor=message.actor,
        action=message.action,
        resource=canonical_file_id(message.resource),
        after=_moment(message, "occurred_after_at"),
        before=_moment(message, "occurred_before_at"),
    )


def _moment(message: audit_pb2.AuditFilter, field: str) -> datetime | None:
    if not message.HasField(field):  # type: ignore[arg-type]
        return None
    given: Timestamp = getattr(message, field)
    try:
        return given.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidArgument("no time between the years 1 and 9999", field=field) from exc


def _sequence(after: tuple[Any, ...] | None) -> int | None:
    if after is None:
        return None
    (text,) = after
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise wrong_token()
    return int(text)


def _refusal(message: audit_pb2.Refusal) -> Refusal:
    if not 1 <= len(message.refusal_id.encode()) <= MAX_REFUSAL_ID_BYTES or (
        "\0" in message.refusal_id
    ):
        raise InvalidArgument(
            f"refusal_id is 1 to {MAX_REFUSAL_ID_BYTES} bytes without NUL",
            field="refusals.refusal_id",
        )
    if message.count < 1:
        raise InvalidArgument("count is 1 or more", field="refusals.count")
    try:
        occurred_at = message.occurred_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidArgument("no time", field="refusals.occurred_at") from exc
    return Refusal(
        refusal_id=message.refusal_id,
        occurred_at=occurred_at if message.HasField("occurred_at") else utc_now(),
        actor=message.actor,
        action=message.action,
        reason=message.reason,
        count=message.count,
    )


def _message(event: Kept) -> audit_pb2.AuditEvent:
    said = event.event
    return audit_pb2.AuditEvent(
        sequence=event.sequence,
        occurred_at=timestamp(said.occurred_at),
        actor=said.actor,
        action=said.action,
        resource=said.resource,
        outcome=_OUTCOMES[said.outcome],
        details=said.details,
        hash=event.hash.hex(),
        storage_element_id=said.storage_element_id,
        request_id=said.request_id,
        reason=said.reason,
    )

"""The part of LifecycleService that collects."""

from __future__ import annotations

from datetime import datetime

from admin_server.collection.collection import Collection, Order, Reason
from admin_server.collection.runs import CollectionRuns
from admin_server.rpc.times import timestamp
from artstore.v1 import lifecycle_pb2 as pb
from mesh.errors import InvalidArgument
from mesh.paging import AskedPage

REASONS = {
    reason: pb.CollectionReason.ValueType(
        pb.CollectionReason.Value(f"COLLECTION_REASON_{reason.name}")
    )
    for reason in Reason
}


class CollectionCalls:
    """Runs of the collector."""

    def __init__(self, runs: CollectionRuns) -> None:
        self._runs = runs

    async def run(self, request: pb.RunCollectionRequest) -> pb.RunCollectionResponse:
        """Run one, and wait for its end."""
        ratio = request.max_delete_ratio if request.HasField("max_delete_ratio") else None
        if ratio is not None and not 0 <= ratio <= 1:
            raise InvalidArgument("a share from 0 to 1", field="max_delete_ratio")
        order = Order(dry_run=request.dry_run, max_delete_ratio=ratio)
        run = await self._runs.run(order, request.operation_id)
        return pb.RunCollectionResponse(collection=_message(run))

    async def list(self, request: pb.ListCollectionsRequest) -> pb.ListCollectionsResponse:
        """List them, newest first."""
        asked = AskedPage.of(request, ("collections",), datetime, str)
        found, total = await self._runs.table.newest(before=asked.after, limit=asked.size + 1)
        runs, token = asked.page(found, lambda run: (run.started_at, run.collection_id))
        return pb.ListCollectionsResponse(
            collections=[_message(run) for run in runs], next_page_token=token, total_size=total
        )


def _message(run: Collection) -> pb.Collection:
    return pb.Collection(
        collection_id=run.collection_id,
        started_at=timestamp(run.started_at),
        ended_at=None if run.ended_at is None else timestamp(run.ended_at),
        dry_run=run.dry_run,
        examined_count=run.examined_count,
        collected_count=run.collected_count,
        freed_size_bytes=run.freed_size_bytes,
        error_count=run.error_count,
        errors=run.errors,
        counts=[
            pb.CollectionCount(
                reason=REASONS[count.reason],
                count=count.count,
                size_bytes=count.size_bytes,
                examples=count.examples,
            )
            for count in run.counts
        ],
    )

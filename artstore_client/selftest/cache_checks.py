"""The checks of a self-test that concern the cache of one element."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from artstore.v1 import cache_pb2, storage_pb2
from artstore_client import errors
from artstore_client.cache import CacheCalls
from artstore_client.client import Client
from artstore_client.selftest.findings import Failed, Skipped, expect
from artstore_client.selftest.scratch import Scratch

Answer = TypeVar("Answer")

_PAUSE_SECONDS = 0.1


class CacheChecks:
    """Checks of the element on which the scratch files are.

    Each answers what it saw, raises Failed, or whatever a call raises.
    """

    def __init__(self, client: Client, scratch: Scratch, limit_seconds: float) -> None:
        self._client = client
        self._scratch = scratch
        self._wait_seconds = limit_seconds / 2
        self._rows_without_sidecar = 0

    @property
    def _cache(self) -> CacheCalls:
        return self._client.cache(self._scratch.element_id)

    async def check(self) -> str:
        """A check counts the scratch files and finds nothing wrong with them."""
        report = await self._report()
        own = {file.file_id for file in self._scratch.files_here}
        expect(
            min(report.total_attr_files, report.total_cache_entries) >= len(own),
            f"{report.total_attr_files} sidecars and {report.total_cache_entries} rows: fewer than"
            f" the {len(own)} scratch files",
        )
        examples = [example for field, values in report.details.ListFields() for example in values]
        wrong = [id_ for id_ in own if any(id_ in example for example in examples)]
        expect(not wrong, f"scratch files are among the findings: {', '.join(wrong)}")
        self._rows_without_sidecar = report.orphan_cache_count
        verdict = (
            "consistent"
            if report.is_consistent
            else f"{report.inconsistency_percentage:g} % inconsistent, not by the scratch files"
        )
        return f"{report.total_attr_files} sidecars, {report.total_cache_entries} rows, {verdict}"

    async def incremental(self) -> str:
        """An incremental rebuild looks at the scratch files and removes nothing."""
        result = await _undisturbed(
            lambda: self._cache.incremental(wait_seconds=self._wait_seconds)
        )
        counts = self._counted(result)
        expect(counts.entries_deleted == 0, f"it removed {counts.entries_deleted} rows")
        await self._updated_at()
        return f"{counts.attr_files_scanned} sidecars, {counts.entries_created} rows added"

    async def rebuild(self) -> str:
        """A full rebuild renews the rows of the scratch files."""
        if self._rows_without_sidecar:
            raise Skipped(
                f"it would remove {self._rows_without_sidecar} rows without a sidecar, which are"
                f" not ours: see `artstore cache check {self._scratch.element_id}`"
            )
        before = await self._updated_at()
        result = await _undisturbed(lambda: self._cache.rebuild(wait_seconds=self._wait_seconds))
        counts = self._counted(result)
        after = await self._updated_at()
        expect(
            all(after[file_id] > at for file_id, at in before.items()),
            "cache_updated_at of a scratch file is not renewed",
        )
        return (
            f"rows {counts.cache_entries_before} -> {counts.cache_entries_after},"
            f" cache_updated_at renewed"
        )

    async def cleanup(self) -> str:
        """A cleanup removes no row that is fresh, and all files stay readable."""
        report = await self._report()
        if report.expired_cache_count:
            raise Skipped(
                f"it would remove {report.expired_cache_count} expired rows, which are not ours"
            )
        done = await _undisturbed(lambda: self._cache.cleanup(wait_seconds=self._wait_seconds))
        await self._updated_at()
        return f"{done.deleted_count} expired rows removed, fresh ones stayed"

    async def competing_locks(self) -> str:
        """Of two rebuilds at once one is refused, by the name of the holder."""
        while True:
            answers = await asyncio.gather(
                *(self._cache.rebuild() for _ in range(2)), return_exceptions=True
            )
            refusals = [answer for answer in answers if isinstance(answer, errors.Aborted)]
            for answer in answers:
                if isinstance(answer, BaseException) and answer not in refusals:
                    raise answer
            # They may have come one after the other, or both met somebody else's.
            if len(refusals) == 1:
                break
            await asyncio.sleep(_PAUSE_SECONDS * (1 + secrets.randbelow(10)))
        (refused,) = refusals
        holder = refused.metadata.get("holder", "")
        expect(bool(holder), f"the refusal names no holder: {refused.message}")
        operation = refused.metadata.get("operation", "").lower()
        return f"one of two rebuilds was refused, {refused.reason}: {operation} of {holder}"

    async def lazy_refresh(self) -> str:
        """A read answers what the sidecar says now, and looks for one where there is no row."""
        file = self._scratch.files_here[0]
        text = f"changed {secrets.token_hex(4)}"
        changed = await self._client.update(file.file_id, description=text)
        read = await self._client.stat(file.file_id)
        expect(
            (read.description, read.revision, read.cache_stale) == (text, changed.revision, False),
            "a read does not answer the change",
        )
        # A call that no user needs, and so none of the client's.
        connection = self._client._connection
        stub = await connection.storage(self._scratch.element_id)
        unknown = file.file_id[:-12] + secrets.token_hex(6)
        try:
            await connection.calls.unary(
                stub.GetFile,
                storage_pb2.StorageServiceGetFileRequest(file_id=unknown),
                doing=f"GetFile on {self._scratch.element_id}",
            )
        except errors.NotFound:
            return f"revision {read.revision} at once; no row and no sidecar is NOT_FOUND"
        raise Failed(f"a file was answered for {unknown}, which is nobody's id")

    async def _report(self) -> cache_pb2.ConsistencyReport:
        return await _undisturbed(lambda: self._cache.check(wait_seconds=self._wait_seconds))

    def _counted(self, result: cache_pb2.RebuildResult) -> cache_pb2.RebuildStatistics:
        counts, own = result.statistics, len(self._scratch.files_here)
        expect(
            min(counts.attr_files_scanned, counts.cache_entries_after) >= own,
            f"{counts.attr_files_scanned} sidecars and {counts.cache_entries_after} rows: fewer"
            f" than the {own} scratch files",
        )
        return counts

    async def _updated_at(self) -> dict[str, int]:
        """Id -> when its row was last verified, in nanoseconds."""
        own = [file.file_id for file in self._scratch.files_here]
        found = await self._client.get_many(own) if own else {}
        expect(len(found) == len(own), "not all scratch files are readable")
        return {id_: file.cache_updated_at.ToNanoseconds() for id_, file in found.items()}


async def _undisturbed(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Call again when somebody else's operation held the lock too long or took it over."""
    while True:
        try:
            return await call()
        except errors.Aborted:
            await asyncio.sleep(_PAUSE_SECONDS)

"""Uploads and pulls that are on record, in memory; see `memory_catalog`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import orjson

from storage_server.catalog.pulls import PullRow
from storage_server.catalog.uploads import UploadRow
from storage_server.store.port import StagedState
from tests.support.memory_tables import Statements


class MemoryUploads:
    """See `storage_server.catalog.uploads.Uploads`."""

    def __init__(self, catalog: Statements) -> None:
        self._catalog = catalog

    async def create(self, upload: UploadRow) -> None:
        async with self._catalog.statement("uploads.create") as tables:
            assert upload.upload_id not in tables.uploads
            tables.uploads[upload.upload_id] = upload

    async def get(self, upload_id: str) -> UploadRow | None:
        async with self._catalog.statement("uploads.get") as tables:
            return tables.uploads.get(upload_id)

    async def of_file(self, file_id: str) -> Sequence[UploadRow]:
        async with self._catalog.statement("uploads.of_file") as tables:
            return [one for one in tables.uploads.values() if one.file_id == file_id]

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> UploadRow | None:
        async with self._catalog.statement("uploads.find_by_request") as tables:
            found = [
                one
                for one in tables.uploads.values()
                if (one.created_by, one.request_id) == (created_by, request_id)
                and (not one.committed or one.touched_at >= since)
            ]
            return max(found, key=_age) if request_id and found else None

    async def record_progress(
        self,
        upload_id: str,
        stage: StagedState,
        *,
        reserved_bytes: int,
        received_bytes: int,
        now: datetime,
    ) -> bool:
        async with self._catalog.statement("uploads.record_progress") as tables:
            found = tables.uploads.get(upload_id)
            if found is None or found.committed:
                return False
            tables.uploads[upload_id] = replace(
                found,
                stage=stage,
                reserved_bytes=reserved_bytes,
                received_bytes=received_bytes,
                touched_at=now,
            )
            return True

    async def replace_token(self, upload_id: str, token_hash: bytes, *, now: datetime) -> bool:
        async with self._catalog.statement("uploads.replace_token") as tables:
            found = tables.uploads.get(upload_id)
            if found is None:
                return False
            tables.uploads[upload_id] = replace(found, token_hash=token_hash, touched_at=now)
            return True

    async def finish(self, upload_id: str, *, now: datetime) -> None:
        async with self._catalog.statement("uploads.finish") as tables:
            if found := tables.uploads.get(upload_id):
                tables.uploads[upload_id] = replace(
                    found, committed=True, reserved_bytes=0, touched_at=now
                )

    async def delete(self, upload_id: str) -> None:
        async with self._catalog.statement("uploads.delete") as tables:
            tables.uploads.pop(upload_id, None)

    async def list_open(self) -> Sequence[UploadRow]:
        async with self._catalog.statement("uploads.list_open") as tables:
            return sorted((one for one in tables.uploads.values() if not one.committed), key=_age)

    async def lapse(self, created_before: datetime, *, sending: Collection[str]) -> Sequence[str]:
        async with self._catalog.statement("uploads.lapse") as tables:
            due = [
                one
                for one in tables.uploads.values()
                if not one.committed
                and not one.stage.committed_size_bytes
                and one.reserved_bytes
                and one.created_at < created_before
                and one.upload_id not in sending
            ]
            for one in due:
                tables.uploads[one.upload_id] = replace(one, reserved_bytes=0)
            return [one.upload_id for one in due]

    async def list_page(
        self,
        *,
        created_by: str,
        namespaces: Collection[str] | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> tuple[Sequence[UploadRow], int]:
        found = [
            one
            for one in await self.list_open()
            if created_by in ("", one.created_by)
            and (namespaces is None or orjson.loads(one.header)["namespace"] in namespaces)
        ]
        page = [one for one in reversed(found) if before is None or _age(one) < before]
        return page[:limit], len(found)

    async def list_idle(self, touched_before: datetime, *, limit: int = 100) -> Sequence[UploadRow]:
        async with self._catalog.statement("uploads.list_idle") as tables:
            idle = [one for one in tables.uploads.values() if one.touched_at < touched_before]
            return sorted(idle, key=lambda one: one.touched_at)[:limit]

    async def reserved_total(self) -> int:
        return sum(one.reserved_bytes for one in await self.list_open())


class MemoryPulls:
    """See `storage_server.catalog.pulls.Pulls`."""

    def __init__(self, catalog: Statements) -> None:
        self._catalog = catalog

    async def put(self, pull: PullRow) -> None:
        async with self._catalog.statement("pulls.put") as tables:
            tables.pulls[pull.file_id] = pull

    async def get(self, file_id: str) -> PullRow | None:
        async with self._catalog.statement("pulls.get") as tables:
            return tables.pulls.get(file_id)

    async def delete(self, file_id: str) -> None:
        async with self._catalog.statement("pulls.delete") as tables:
            tables.pulls.pop(file_id, None)

    async def list_open(self) -> Sequence[PullRow]:
        async with self._catalog.statement("pulls.list_open") as tables:
            return sorted(tables.pulls.values(), key=lambda one: (one.began_at, one.file_id))


def _age(upload: UploadRow) -> tuple[datetime, str]:
    return upload.created_at, upload.upload_id

"""The client for programs without asyncio: the same calls, each waiting for its answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Self

from artstore.v1 import (
    accounts_pb2,
    audit_pb2,
    cache_pb2,
    elements_pb2,
    lifecycle_pb2,
    operations_pb2,
    query_pb2,
    storage_pb2,
    tokens_pb2,
    types_pb2,
)
from artstore_client.accounts import AccountCalls, KeyCalls
from artstore_client.admission import AdmissionCalls
from artstore_client.audit import AuditCalls
from artstore_client.cache import CacheCalls
from artstore_client.calls.waiting import Waiting
from artstore_client.client import Client
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.erasure import ErasureCalls
from artstore_client.explaining.explanation import Explanation
from artstore_client.loop_thread import LoopThread
from artstore_client.open_uploads import OpenUploads
from artstore_client.results import DownloadedFile, ElementReport, UploadedFile
from artstore_client.sync_collections import SyncCollectionCalls, SyncTrashCalls
from artstore_client.sync_mesh_check import SyncMeshCheckCalls
from artstore_client.sync_policies import SyncPolicyCalls, SyncRetentionCalls
from artstore_client.sync_transfers import SyncTransferring
from artstore_client.uploads.sources import UploadSource


class SyncClient(SyncTransferring):
    """`Client` for scripts; safe to use from several threads.

    Take the arguments, the meaning and the errors of each method from `Client`.
    """

    def __init__(self, client: Client, loop: LoopThread) -> None:
        super().__init__(client, loop)
        self._client = client
        self._loop = loop
        self.accounts = SyncAccountCalls(client.accounts, loop)
        self.admission = SyncAdmissionCalls(client.admission, loop)
        self.keys = SyncKeyCalls(client.keys, loop)
        self.audit = SyncAuditCalls(client.audit, loop)
        self.erasure = SyncErasureCalls(client.erasure, loop)
        self.open_uploads = SyncOpenUploads(client.open_uploads, loop)
        self.collections = SyncCollectionCalls(client.collections, loop)
        self.mesh_check = SyncMeshCheckCalls(client.mesh_check, loop)
        self.trash = SyncTrashCalls(client.trash, loop)
        self.policies = SyncPolicyCalls(client.policies, loop.run)
        self.retention = SyncRetentionCalls(client.retention, loop.run)

    @classmethod
    def connect(cls, **options: Any) -> Self:
        """A client; takes what `Client.connect` takes. Use it with `with`, or call `close`."""
        client = Client.connect(**options)
        return cls(client, LoopThread())

    def close(self) -> None:
        """End all calls, connections and the background thread."""
        self._loop.run(self._client.close())
        self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def upload(self, source: UploadSource, **said: Any) -> UploadedFile:
        """`Client.upload`."""
        return self._loop.run(self._client.upload(source, **said))

    def download(
        self, file_id: str, target: str | os.PathLike[str] | BinaryIO, **options: Any
    ) -> DownloadedFile:
        """`Client.download` to a path or file object."""

        async def work() -> DownloadedFile:
            return await self._client.download(file_id, target, **options)

        return self._loop.run(work())

    def read(self, file_id: str, *, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """`Client.download` without a target: the bytes, piece by piece."""
        return self._loop.iterate(self._client.download(file_id, offset=offset, length=length))

    def stat(self, file_id: str) -> types_pb2.File:
        """`Client.stat`."""
        return self._loop.run(self._client.stat(file_id))

    def explain(self, file_id: str) -> Explanation:
        """`Client.explain`."""
        return self._loop.run(self._client.explain(file_id))

    def get_many(self, file_ids: Sequence[str]) -> dict[str, types_pb2.File]:
        """`Client.get_many`."""
        return self._loop.run(self._client.get_many(file_ids))

    def list_files(
        self, element_id: str = "", *, namespace: str = "", page_size: int = MAX_PAGE_SIZE
    ) -> Iterator[types_pb2.File]:
        """`Client.list_files`."""
        return self._loop.iterate(
            self._client.list_files(element_id, namespace=namespace, page_size=page_size)
        )

    def update(
        self, file_id: str, *, expected_revision: int | None = None, **changes: object
    ) -> types_pb2.File:
        """`Client.update`."""
        return self._loop.run(
            self._client.update(file_id, expected_revision=expected_revision, **changes)
        )

    def delete(self, file_id: str, *, expected_revision: int | None = None) -> types_pb2.File:
        """`Client.delete`."""
        return self._loop.run(self._client.delete(file_id, expected_revision=expected_revision))

    def undelete(self, file_id: str, *, expected_revision: int | None = None) -> types_pb2.File:
        """`Client.undelete`."""
        return self._loop.run(self._client.undelete(file_id, expected_revision=expected_revision))

    def elements(self) -> list[ElementReport]:
        """`Client.elements`."""
        return self._loop.run(self._client.elements())

    def set_legal_hold(self, file_id: str, legal_hold: bool, *, reason: str = "") -> types_pb2.File:
        """`Client.set_legal_hold`."""
        return self._loop.run(self._client.set_legal_hold(file_id, legal_hold, reason=reason))

    def set_mode(
        self, element_id: str, mode: types_pb2.ElementMode.ValueType, *, confirm: bool = False
    ) -> elements_pb2.StorageElement:
        """`Client.set_mode`."""
        return self._loop.run(self._client.set_mode(element_id, mode, confirm=confirm))

    def access_token(self) -> str:
        """`Client.access_token`."""
        return self._loop.run(self._client.access_token())

    @property
    def doubt(self) -> str:
        """`Client.doubt`."""
        return self._client.doubt

    def cache(self, element_id: str) -> SyncCacheCalls:
        """`Client.cache`."""
        return SyncCacheCalls(self._client.cache(element_id), self._loop)

    @property
    def mesh_id(self) -> str:
        """`Client.mesh_id`."""
        return self._client.mesh_id

    @property
    def waiting(self) -> Waiting | None:
        """`Client.waiting`; ask it from another thread."""
        return self._client.waiting

    @property
    def change_tokens(self) -> list[str]:
        """`Client.change_tokens`."""
        return self._client.change_tokens

    def search(self, query: str = "", **options: Any) -> query_pb2.SearchFilesResponse:
        """`Client.search`."""
        return self._loop.run(self._client.search(query, **options))

    def search_all(self, query: str = "", **options: Any) -> Iterator[query_pb2.SearchResult]:
        """`Client.search_all`."""
        return self._loop.iterate(self._client.search_all(query, **options))

    def sync(self, element_id: str = "") -> query_pb2.SyncIndexResponse:
        """`Client.sync`."""
        return self._loop.run(self._client.sync(element_id))

    def sync_status(self, element_id: str = "") -> query_pb2.GetSyncStatusResponse:
        """`Client.sync_status`."""
        return self._loop.run(self._client.sync_status(element_id))


class SyncOpenUploads:
    """`OpenUploads` for scripts."""

    def __init__(self, calls: OpenUploads, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def list(self, element_id: str = "", **options: Any) -> Iterator[storage_pb2.OpenUpload]:
        """`OpenUploads.list`."""
        return self._loop.iterate(self._calls.list(element_id, **options))

    def abort(self, upload_id: str) -> None:
        """`OpenUploads.abort`."""
        self._loop.run(self._calls.abort(upload_id))


class SyncCacheCalls:
    """`CacheCalls` for scripts."""

    def __init__(self, calls: CacheCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def check(
        self, level: cache_pb2.CheckLevel.ValueType = cache_pb2.CHECK_LEVEL_FULL, **options: Any
    ) -> cache_pb2.ConsistencyReport:
        """`CacheCalls.check`."""
        return self._loop.run(self._calls.check(level, **options))

    def rebuild(self, **options: Any) -> cache_pb2.RebuildResult:
        """`CacheCalls.rebuild`."""
        return self._loop.run(self._calls.rebuild(**options))

    def incremental(self, **options: Any) -> cache_pb2.RebuildResult:
        """`CacheCalls.incremental`."""
        return self._loop.run(self._calls.incremental(**options))

    def cleanup(self, **options: Any) -> cache_pb2.CleanupExpiredResponse:
        """`CacheCalls.cleanup`."""
        return self._loop.run(self._calls.cleanup(**options))

    def watch(self, operation_id: str = "") -> Iterator[operations_pb2.Operation]:
        """`CacheCalls.watch`."""
        return self._loop.iterate(self._calls.watch(operation_id))

    def cancel(self, operation_id: str) -> operations_pb2.OperationState.ValueType:
        """`CacheCalls.cancel`."""
        return self._loop.run(self._calls.cancel(operation_id))

    def locks(self) -> list[cache_pb2.Lock]:
        """`CacheCalls.locks`."""
        return self._loop.run(self._calls.locks())

    def release(self, kind: cache_pb2.LockKind.ValueType, **options: Any) -> bool:
        """`CacheCalls.release`."""
        return self._loop.run(self._calls.release(kind, **options))


class SyncAccountCalls:
    """`AccountCalls` for scripts."""

    def __init__(self, calls: AccountCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def create(
        self, client_id: str = "", **options: Any
    ) -> accounts_pb2.CreateServiceAccountResponse:
        """`AccountCalls.create`."""
        return self._loop.run(self._calls.create(client_id, **options))

    def list(self) -> Iterator[accounts_pb2.ServiceAccount]:
        """`AccountCalls.list`."""
        return self._loop.iterate(self._calls.list())

    def show(self, client_id: str) -> accounts_pb2.ServiceAccount:
        """`AccountCalls.show`."""
        return self._loop.run(self._calls.show(client_id))

    def update(self, client_id: str, **changes: object) -> accounts_pb2.ServiceAccount:
        """`AccountCalls.update`."""
        return self._loop.run(self._calls.update(client_id, **changes))

    def rotate(
        self, client_id: str, *, overlap_seconds: int = 0
    ) -> accounts_pb2.RotateServiceAccountResponse:
        """`AccountCalls.rotate`."""
        return self._loop.run(self._calls.rotate(client_id, overlap_seconds=overlap_seconds))

    def suspend(self, client_id: str) -> accounts_pb2.ServiceAccount:
        """`AccountCalls.suspend`."""
        return self._loop.run(self._calls.suspend(client_id))

    def resume(self, client_id: str) -> accounts_pb2.ServiceAccount:
        """`AccountCalls.resume`."""
        return self._loop.run(self._calls.resume(client_id))

    def delete(self, client_id: str) -> None:
        """`AccountCalls.delete`."""
        self._loop.run(self._calls.delete(client_id))


class SyncKeyCalls:
    """`KeyCalls` for scripts."""

    def __init__(self, calls: KeyCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def rotate(self) -> tokens_pb2.RotateKeysResponse:
        """`KeyCalls.rotate`."""
        return self._loop.run(self._calls.rotate())


class SyncAdmissionCalls:
    """`AdmissionCalls` for scripts."""

    def __init__(self, calls: AdmissionCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def add(self, element_id: str, **options: Any) -> elements_pb2.CreateStorageElementResponse:
        """`AdmissionCalls.add`."""
        return self._loop.run(self._calls.add(element_id, **options))

    def registered(self) -> list[elements_pb2.StorageElement]:
        """`AdmissionCalls.registered`."""
        return self._loop.run(self._calls.registered())

    def waiting(self, element_id: str) -> elements_pb2.StorageElement:
        """`AdmissionCalls.waiting`."""
        return self._loop.run(self._calls.waiting(element_id))

    def admit(self, element_id: str, **accepted: str) -> elements_pb2.StorageElement:
        """`AdmissionCalls.admit`."""
        return self._loop.run(self._calls.admit(element_id, **accepted))


class SyncAuditCalls:
    """`AuditCalls` for scripts."""

    def __init__(self, calls: AuditCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def list(self, **wanted: Any) -> Iterator[audit_pb2.AuditEvent]:
        """`AuditCalls.list`."""
        return self._loop.iterate(self._calls.list(**wanted))

    def verify(self, from_sequence: int | None = None) -> audit_pb2.VerifyAuditEventsResponse:
        """`AuditCalls.verify`."""
        return self._loop.run(self._calls.verify(from_sequence))

    def export(
        self, from_sequence: int | None = None, **wanted: Any
    ) -> Iterator[audit_pb2.AuditEvent]:
        """`AuditCalls.export`."""
        return self._loop.iterate(self._calls.export(from_sequence, **wanted))


class SyncErasureCalls:
    """`ErasureCalls` for scripts."""

    def __init__(self, calls: ErasureCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def hold(self, file_id: str, *, reason: str = "") -> lifecycle_pb2.SetLegalHoldResponse:
        """`ErasureCalls.hold`."""
        return self._loop.run(self._calls.hold(file_id, reason=reason))

    def release(self, file_id: str, *, reason: str = "") -> lifecycle_pb2.SetLegalHoldResponse:
        """`ErasureCalls.release`."""
        return self._loop.run(self._calls.release(file_id, reason=reason))

    def erase(
        self, file_id: str, *, reason: str, operation_id: str = ""
    ) -> lifecycle_pb2.EraseFileResponse:
        """`ErasureCalls.erase`."""
        return self._loop.run(self._calls.erase(file_id, reason=reason, operation_id=operation_id))

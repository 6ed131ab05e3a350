"""A caller that knows the contract and nothing else: plain synchronous stubs and a token."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import field_mask_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from artstore.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    cache_pb2,
    downloads_pb2,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    storage_pb2,
    tokens_pb2,
    types_pb2,
    uploads_pb2,
)
from tests.support.caller import CHUNK_BYTES, TIMEOUT_SECONDS, Stubs, credentials_of, sha256_of
from tests.support.mesh import MeshFile


@dataclass
class Outside(Stubs):
    """One caller of a mesh, by default with the first account. Close it when done."""

    file: MeshFile
    client_id: str = ""
    client_secret: str = ""
    _channels: dict[str, grpc.Channel] = field(default_factory=dict)
    _token: str = ""

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    def channel(self, server: str) -> grpc.Channel:
        endpoint = self.endpoint(server)
        if endpoint not in self._channels:
            options = [("grpc.use_local_subchannel_pool", 1)]
            credentials = credentials_of(self.file)
            self._channels[endpoint] = (
                grpc.insecure_channel(endpoint, options=options)
                if credentials is None
                else grpc.secure_channel(endpoint, credentials, options=options)
            )
        return self._channels[endpoint]

    @property
    def token(self) -> str:  # type: ignore[override]
        """An access token, asked for once."""
        if not self._token:
            request = tokens_pb2.IssueTokenRequest(
                client_id=self.client_id or self.file.client_id,
                client_secret=self.client_secret or self.file.client_secret,
            )
            self._token = self.tokens.IssueToken(request, timeout=TIMEOUT_SECONDS).access_token
        return self._token

    def hold(self, file_id: str, legal_hold: bool = True) -> types_pb2.File:
        """Set or lift a legal hold, by admin."""
        stub = lifecycle_pb2_grpc.LifecycleServiceStub(self.channel("admin"))
        request = lifecycle_pb2.SetLegalHoldRequest(file_id=file_id, legal_hold=legal_hold)
        file: types_pb2.File = stub.SetLegalHold(request, **self.auth).file
        return file

    def account(self, role: accounts_pb2.Role, *namespaces: str) -> Outside:
        """Make a service account and return a caller with it."""
        stub = accounts_pb2_grpc.ServiceAccountServiceStub(self.channel("admin"))
        request = accounts_pb2.CreateServiceAccountRequest(
            client_id=f"outside-{secrets.token_hex(4)}", role=role, namespaces=namespaces
        )
        made = stub.CreateServiceAccount(request, **self.auth)
        return Outside(self.file, made.account.client_id, made.client_secret)

    def send(self, content: bytes, name: str, **header: Any) -> uploads_pb2.UploadResponse:
        """Put `content` in through ingest, in one stream; the answer has the change token."""
        parts = _requests(uploads_pb2.UploadRequest, _head(content, name, header), content)
        answer: uploads_pb2.UploadResponse = self.ingest.Upload(parts, **self.auth)
        return answer

    def upload(self, content: bytes, name: str, **header: Any) -> types_pb2.File:
        """Put `content` in through ingest, in one stream."""
        return self.send(content, name, **header).file

    def upload_to(
        self, element_id: str, content: bytes, name: str, **header: Any
    ) -> types_pb2.File:
        """Put `content` into one element, past ingest."""
        parts = _requests(uploads_pb2.UploadRequest, _head(content, name, header), content)
        uploaded: types_pb2.File = self.storage(element_id).Upload(parts, **self.auth).file
        return uploaded

    def download(
        self, element_id: str, file_id: str, offset: int = 0, length: int = 0
    ) -> tuple[types_pb2.File, bytes]:
        """Get a file, or a range of it, from its element."""
        request = downloads_pb2.DownloadRequest(
            file_id=file_id, offset=offset, length=length or None
        )
        parts = list(self.storage(element_id).Download(request, **self.auth))
        expected = parts[0].header.offset
        for part in parts[1:]:
            assert part.chunk.offset == expected
            expected += len(part.chunk.data)
        return parts[0].header.file, b"".join(part.chunk.data for part in parts[1:])

    def get(self, element_id: str, file_id: str) -> types_pb2.File:
        """Read a file's metadata from its element."""
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
        found: types_pb2.File = self.storage(element_id).GetFile(request, **self.auth).file
        return found

    def list(self, element_id: str) -> storage_pb2.StorageServiceListFilesResponse:
        """Read the first page of an element's files."""
        request = storage_pb2.StorageServiceListFilesRequest(page_size=1000)
        page: storage_pb2.StorageServiceListFilesResponse = self.storage(element_id).ListFiles(
            request, **self.auth
        )
        return page

    def update(
        self, element_id: str, file_id: str, *, paths: Sequence[str], **values: Any
    ) -> storage_pb2.UpdateFileResponse:
        """Change the fields named by `paths`."""
        request = storage_pb2.UpdateFileRequest(
            file_id=file_id,
            file=types_pb2.File(**values),
            update_mask=field_mask_pb2.FieldMask(paths=paths),
        )
        answer: storage_pb2.UpdateFileResponse = self.storage(element_id).UpdateFile(
            request, **self.auth
        )
        return answer

    def delete(self, element_id: str, file_id: str) -> storage_pb2.DeleteFileResponse:
        """Delete a file on its element."""
        answer: storage_pb2.DeleteFileResponse = self.storage(element_id).DeleteFile(
            storage_pb2.DeleteFileRequest(file_id=file_id), **self.auth
        )
        return answer

    def undelete(self, element_id: str, file_id: str) -> storage_pb2.UndeleteFileResponse:
        """Take a deletion back."""
        answer: storage_pb2.UndeleteFileResponse = self.storage(element_id).UndeleteFile(
            storage_pb2.UndeleteFileRequest(file_id=file_id), **self.auth
        )
        return answer

    def check(
        self, element_id: str, level: cache_pb2.CheckLevel = cache_pb2.CHECK_LEVEL_UNSPECIFIED
    ) -> cache_pb2.ConsistencyReport:
        """Compare an element's rows with its sidecars."""
        request = cache_pb2.CheckConsistencyRequest(level=level)
        answer = self.cache(element_id).CheckConsistency(request, **self.auth)
        report: cache_pb2.ConsistencyReport = answer.report
        return report

    def rebuild(self, element_id: str, **asked: Any) -> cache_pb2.RebuildResult:
        """Rebuild an element's rows."""
        answer = self.cache(element_id).RebuildCache(
            cache_pb2.RebuildCacheRequest(**asked), **self.auth
        )
        result: cache_pb2.RebuildResult = answer.result
        return result

    def incremental(self, element_id: str, **asked: Any) -> cache_pb2.RebuildResult:
        """Add what an element's rows lack."""
        answer = self.cache(element_id).RebuildCacheIncremental(
            cache_pb2.RebuildCacheIncrementalRequest(**asked), **self.auth
        )
        result: cache_pb2.RebuildResult = answer.result
        return result

    def cleanup(self, element_id: str) -> int:
        """Remove an element's expired rows, and return how many there were."""
        answer = self.cache(element_id).CleanupExpired(
            cache_pb2.CleanupExpiredRequest(), **self.auth
        )
        deleted: int = answer.deleted_count
        return deleted


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a status, empty if it has none."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
    return info


def _head(content: bytes, name: str, header: dict[str, Any]) -> uploads_pb2.UploadHeader:
    return uploads_pb2.UploadHeader(
        original_filename=name, **{"size_bytes": len(content), **header}
    )


def _requests(request: Any, head: uploads_pb2.UploadHeader, content: bytes) -> Iterator[Any]:
    yield request(header=head)
    for offset in range(0, len(content), CHUNK_BYTES):
        data = content[offset : offset + CHUNK_BYTES]
        yield request(chunk=types_pb2.Chunk(offset=offset, data=data))
    sha256 = sha256_of(content)
    yield request(finish=uploads_pb2.UploadFinish(size_bytes=len(content), sha256=sha256))

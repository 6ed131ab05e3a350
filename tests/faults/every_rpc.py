"""Every RPC of a mesh, by reflection, and what the design says of who may make it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.caller import Caller, Ending, ended

SERVERS = ("admin", "se-01", "se-03", "ingest", "query")
ROLES = ("READONLY", "USER", "AUDITOR", "SERVICE", "ADMIN")
READERS = frozenset(ROLES)
USERS = frozenset({"USER", "SERVICE", "ADMIN"})
FINALIZERS = frozenset({"USER", "ADMIN"})
SERVICES = frozenset({"SERVICE", "ADMIN"})
AUDITORS = frozenset({"AUDITOR", "ADMIN"})
ADMINS = frozenset({"ADMIN"})
ONLY_SERVERS = frozenset({"SERVICE"})
ANONYMOUS = frozenset(
    {
        "artstore.v1.TokenService/IssueToken",
        "artstore.v1.TokenService/GetJwks",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/List",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)

# Section 4 of the design, "Who may".
WHO_MAY: dict[str, frozenset[str]] = {
    "StorageService/Upload": SERVICES,
    "StorageService/StartUpload": SERVICES,
    "StorageService/WriteUpload": USERS,
    "StorageService/GetUpload": USERS,
    "StorageService/CommitUpload": USERS,
    "StorageService/AbortUpload": USERS,
    "StorageService/Download": READERS,
    "StorageService/GetFile": READERS,
    "StorageService/BatchGetFiles": READERS,
    "StorageService/ListFiles": READERS,
    "StorageService/GetElement": READERS,
    "StorageService/UpdateFile": USERS,
    "StorageService/DeleteFile": USERS,
    "StorageService/UndeleteFile": USERS,
    "StorageService/SetMode": ADMINS,
    "StorageService/WatchChanges": SERVICES,
    "CacheService/CheckConsistency": AUDITORS,
    "OperationService/WatchOperation": AUDITORS,
    "OperationService/GetOperation": AUDITORS,
    "OperationService/ListOperations": AUDITORS,
    "OperationService/CancelOperation": ADMINS,
    "ServerService/GetServerInfo": READERS,
    "StorageService/SetDrain": ADMINS,
    "StorageService/ListUploads": USERS,
    "StorageService/GetUploadTotals": ONLY_SERVERS,
    "CacheService/ListLocks": AUDITORS,
    "CacheService/RebuildCache": ADMINS,
    "CacheService/RebuildCacheIncremental": ADMINS,
    "CacheService/CleanupExpired": ADMINS,
    "CacheService/ReleaseLock": ADMINS,
    "IngestService/Upload": USERS,
    "IngestService/StartUpload": USERS,
    "IngestService/WriteUpload": USERS,
    "IngestService/GetUpload": USERS,
    "IngestService/CommitUpload": USERS,
    "IngestService/AbortUpload": USERS,
    "IngestService/FinalizeFile": FINALIZERS,
    "IngestService/GetFinalization": USERS,
    "QueryService/SearchFiles": READERS,
    "QueryService/GetFile": READERS,
    "QueryService/DownloadFile": READERS,
    "QueryService/SyncIndex": ADMINS,
    "QueryService/GetSyncStatus": READERS,
    "TokenService/RotateKeys": ADMINS,
    "TokenService/ListSuspensions": SERVICES,
    "ServiceAccountService/CreateServiceAccount": ADMINS,
    "ServiceAccountService/GetServiceAccount": AUDITORS,
    "ServiceAccountService/ListServiceAccounts": AUDITORS,
    "ServiceAccountService/UpdateServiceAccount": ADMINS,
    "ServiceAccountService/DeleteServiceAccount": ADMINS,
    "ServiceAccountService/RotateServiceAccount": ADMINS,
    "ServiceAccountService/SuspendServiceAccount": ADMINS,
    "ServiceAccountService/ResumeServiceAccount": ADMINS,
    "StorageElementService/CreateStorageElement": ADMINS,
    "StorageElementService/AdmitStorageElement": ADMINS,
    "StorageElementService/ReportStorageElement": ONLY_SERVERS,
    "StorageElementService/GetStorageElement": READERS,
    "StorageElementService/ListStorageElements": READERS,
    "StorageElementService/UpdateStorageElement": ADMINS,
    "StorageElementService/WatchStorageElements": READERS,
    "StorageElementService/RetireStorageElement": ADMINS,
    "StorageElementService/MarkStorageElementLost": ADMINS,
    "StorageElementService/OpenStorageElement": ADMINS,
    "StorageElementService/MarkStorageElementRestored": ADMINS,
    "FileRegistryService/GetFile": READERS,
    "FileRegistryService/ListFiles": READERS,
    "FileRegistryService/CheckMesh": AUDITORS,
    "FileRegistryService/ListFindings": AUDITORS,
    "FileRegistryService/ResolveHome": ADMINS,
    # A server asks on behalf of a user alone, for a FINALIZE.
    "LifecycleService/MoveFile": ADMINS,
    "LifecycleService/SetLegalHold": ADMINS,
    "LifecycleService/EraseFile": ADMINS,
    "LifecycleService/GetTransfer": USERS,
    "LifecycleService/ListTransfers": AUDITORS,
    "LifecycleService/CancelTransfer": ADMINS,
    "LifecycleService/RetryTransfer": ADMINS,
    "LifecycleService/RunCollection": ADMINS,
    "LifecycleService/ListCollections": ADMINS,
    "LifecycleService/StartEvacuation": ADMINS,
    "LifecycleService/GetPolicy": ADMINS,
    "LifecycleService/SetPolicy": ADMINS,
    "LifecycleService/ListPolicies": SERVICES,
    "AuditService/ListAuditEvents": AUDITORS,
    "AuditService/VerifyAuditEvents": AUDITORS,
    "AuditService/ExportAuditEvents": AUDITORS,
    "AuditService/RecordRefusals": ONLY_SERVERS,
    "BackupService/RunBackup": ADMINS,
    "BackupService/ListBackups": ADMINS,
    "BackupService/VerifyBackup": ADMINS,
    "DrillService/RunDrill": ADMINS,
    "TransferService/PullFile": ONLY_SERVERS,
    "TransferService/MarkMoved": ONLY_SERVERS,
    "TransferService/SyncCopy": ONLY_SERVERS,
    "TransferService/Activate": ONLY_SERVERS,
    "TransferService/Collect": ONLY_SERVERS,
    "TransferService/Hold": ONLY_SERVERS,
    "TransferService/Heal": ONLY_SERVERS,
    "TransferService/Erase": ONLY_SERVERS,
    "TransferService/OpenElement": ONLY_SERVERS,
    "TransferService/CollectLeftovers": ONLY_SERVERS,
    "TransferService/MakePermanent": ONLY_SERVERS,
}

# What concerns all namespaces and takes a token of namespaces `*`.
_FILES_AND_ACCOUNTS = (
    "IngestService/",
    "ServerService/",
    "ServiceAccountService/",
    "TokenService/ListSuspensions",
    "TransferService/Hold",
    "TransferService/MakePermanent",
    "StorageElementService/ReportStorageElement",
    "StorageElementService/GetStorageElement",
    "StorageElementService/ListStorageElements",
    "StorageElementService/WatchStorageElements",
    "FileRegistryService/GetFile",
    "FileRegistryService/ListFiles",
    "FileRegistryService/ResolveHome",
    "LifecycleService/MoveFile",
    "LifecycleService/SetLegalHold",
    "LifecycleService/EraseFile",
    "LifecycleService/GetTransfer",
    "AuditService/RecordRefusals",
    "QueryService/",
    "StorageService/",
)
CONCERN_ALL = frozenset(name for name in WHO_MAY if not name.startswith(_FILES_AND_ACCOUNTS)) | {
    "StorageService/SetMode",
    "StorageService/SetDrain",
    "QueryService/SyncIndex",
}


@dataclass(frozen=True, slots=True)
class Rpc:
    """A method as reflection describes it."""

    server: str
    name: str
    streams_requests: bool
    streams_responses: bool

    async def call(self, caller: Caller, metadata: Any, *, timeout: float = 10.0) -> Ending:
        """Call it with an empty message."""
        channel = caller.channel(self.server)
        make = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[self.streams_requests, self.streams_responses]
        method: Any = make(f"/{self.name}")
        request = _one_empty() if self.streams_requests else b""
        call = method(request, metadata=metadata, timeout=timeout)
        if not self.streams_responses:
            return await ended(call)
        try:
            return await ended(call.read())
        finally:
            call.cancel()


async def _one_empty() -> AsyncIterator[bytes]:
    yield b""


async def served(caller: Caller) -> list[Rpc]:
    """Every RPC of every server, by reflection."""
    found: list[Rpc] = []
    for server in SERVERS:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(caller.channel(server))
        asked = reflection_pb2.ServerReflectionRequest
        call = stub.ServerReflectionInfo(iter([asked(list_services="")]))
        services = [s.name async for a in call for s in a.list_services_response.service]
        call = stub.ServerReflectionInfo(iter([asked(file_containing_symbol=s) for s in services]))
        files: dict[str, FileDescriptorProto] = {}
        async for answer in call:
            for serialized in answer.file_descriptor_response.file_descriptor_proto:
                file = FileDescriptorProto.FromString(serialized)
                files[file.name] = file
        found += [
            Rpc(server, f"{name}/{rpc.name}", rpc.client_streaming, rpc.server_streaming)
            for file in files.values()
            for service in file.service
            if (name := f"{file.package}.{service.name}") in services
            for rpc in service.method
        ]
    return found

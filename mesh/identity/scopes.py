"""The one table of how far a call reaches over namespaces, beside that of roles.

A method that is not in it is denied to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from mesh.errors import PermissionDenied
from mesh.identity.caller import ALL_NAMESPACES, Caller


class Scope(Enum):
    """What a call concerns."""

    NONE = "none"
    """Nothing that lies in a namespace. What its answer says of files in all of them (counts), it
    says to those who may read all of them."""
    NAMESPACED = "namespaced"
    """Files or accounts of some namespaces: the handler looks at each."""
    ALL_READ = "all, to look"
    """All namespaces: the token must read `*`."""
    ALL_WRITE = "all, to change"
    """All namespaces: the token must write `*`."""


NONE, NAMESPACED = Scope.NONE, Scope.NAMESPACED
ALL_READ, ALL_WRITE = Scope.ALL_READ, Scope.ALL_WRITE


def _service(name: str, **methods: Scope) -> dict[str, Scope]:
    return {f"/{name}/{method}": scope for method, scope in methods.items()}


_ELEMENTS = (
    _service(
        "artstore.v1.StorageService",
        Upload=NAMESPACED,
        StartUpload=NAMESPACED,
        WriteUpload=NAMESPACED,
        GetUpload=NAMESPACED,
        ListUploads=NAMESPACED,
        # Of all uploads of an account, said to elements alone.
        GetUploadTotals=NONE,
        CommitUpload=NAMESPACED,
        AbortUpload=NAMESPACED,
        Download=NAMESPACED,
        GetFile=NAMESPACED,
        BatchGetFiles=NAMESPACED,
        ListFiles=NAMESPACED,
        UpdateFile=NAMESPACED,
        DeleteFile=NAMESPACED,
        UndeleteFile=NAMESPACED,
        GetElement=NONE,
        SetMode=ALL_WRITE,
        SetDrain=ALL_WRITE,
        WatchChanges=NAMESPACED,
    )
    | _service(
        "artstore.v1.CacheService",
        CheckConsistency=ALL_READ,
        RebuildCache=ALL_WRITE,
        RebuildCacheIncremental=ALL_WRITE,
        CleanupExpired=ALL_WRITE,
        ListLocks=ALL_READ,
        ReleaseLock=ALL_WRITE,
    )
    | _service(
        "artstore.v1.TransferService",
        PullFile=ALL_WRITE,
        MarkMoved=ALL_WRITE,
        SyncCopy=ALL_WRITE,
        Activate=ALL_WRITE,
        Collect=ALL_WRITE,
        # On behalf of the ADMIN who holds the file.
        Hold=NAMESPACED,
        Heal=ALL_WRITE,
        Erase=ALL_WRITE,
        OpenElement=ALL_WRITE,
        CollectLeftovers=ALL_WRITE,
        # On behalf of whoever finalizes the file.
        MakePermanent=NAMESPACED,
    )
)
_EVERYWHERE = _service(
    "artstore.v1.OperationService",
    GetOperation=ALL_READ,
    ListOperations=ALL_READ,
    WatchOperation=ALL_READ,
    CancelOperation=ALL_WRITE,
) | _service("artstore.v1.ServerService", GetServerInfo=NONE)
_INGEST_AND_QUERY = _service(
    "artstore.v1.IngestService",
    Upload=NAMESPACED,
    StartUpload=NAMESPACED,
    WriteUpload=NAMESPACED,
    GetUpload=NAMESPACED,
    CommitUpload=NAMESPACED,
    AbortUpload=NAMESPACED,
    FinalizeFile=NAMESPACED,
    GetFinalization=NAMESPACED,
) | _service(
    "artstore.v1.QueryService",
    SearchFiles=NAMESPACED,
    GetFile=NAMESPACED,
    DownloadFile=NAMESPACED,
    SyncIndex=ALL_WRITE,
    GetSyncStatus=NONE,
)
_ADMIN = (
    _service(
        "artstore.v1.TokenService",
        IssueToken=NONE,
        GetJwks=NONE,
        RotateKeys=ALL_WRITE,
        # A server of few namespaces refuses the suspended as well.
        ListSuspensions=NONE,
    )
    | _service(
        "artstore.v1.ServiceAccountService",
        # An account gives, sees and changes what it has itself.
        CreateServiceAccount=NAMESPACED,
        GetServiceAccount=NAMESPACED,
        ListServiceAccounts=NAMESPACED,
        UpdateServiceAccount=NAMESPACED,
        DeleteServiceAccount=NAMESPACED,
        RotateServiceAccount=NAMESPACED,
        SuspendServiceAccount=NAMESPACED,
        ResumeServiceAccount=NAMESPACED,
    )
    | _service(
        "artstore.v1.StorageElementService",
        CreateStorageElement=ALL_WRITE,
        AdmitStorageElement=ALL_WRITE,
        # Its own report: what it says is bound to its account.
        ReportStorageElement=NONE,
        GetStorageElement=NONE,
        ListStorageElements=NONE,
        UpdateStorageElement=ALL_WRITE,
        WatchStorageElements=NONE,
        RetireStorageElement=ALL_WRITE,
        MarkStorageElementLost=ALL_WRITE,
        OpenStorageElement=ALL_WRITE,
        MarkStorageElementRestored=ALL_WRITE,
    )
    | _service(
        "artstore.v1.FileRegistryService",
        GetFile=NAMESPACED,
        ListFiles=NAMESPACED,
        CheckMesh=ALL_READ,
        ListFindings=ALL_READ,
        ResolveHome=NAMESPACED,
    )
    | _service(
        "artstore.v1.LifecycleService",
        MoveFile=NAMESPACED,
        SetLegalHold=NAMESPACED,
        EraseFile=NAMESPACED,
        GetTransfer=NAMESPACED,
        ListTransfers=ALL_READ,
        CancelTransfer=ALL_WRITE,
        RetryTransfer=ALL_WRITE,
        RunCollection=ALL_WRITE,
        ListCollections=ALL_READ,
        StartEvacuation=ALL_WRITE,
        GetPolicy=ALL_READ,
        SetPolicy=ALL_WRITE,
        ListPolicies=ALL_READ,
    )
    | _service(
        "artstore.v1.AuditService",
        ListAuditEvents=ALL_READ,
        VerifyAuditEvents=ALL_READ,
        ExportAuditEvents=ALL_READ,
        RecordRefusals=NONE,
    )
    | _service(
        "artstore.v1.BackupService",
        RunBackup=ALL_WRITE,
        ListBackups=ALL_READ,
        VerifyBackup=ALL_READ,
    )
    | _service("artstore.v1.DrillService", RunDrill=ALL_WRITE)
)
_INFRASTRUCTURE = (
    _service("grpc.health.v1.Health", Check=NONE, Watch=NONE, List=NONE)
    | _service("grpc.reflection.v1alpha.ServerReflection", ServerReflectionInfo=NONE)
    | _service("grpc.reflection.v1.ServerReflection", ServerReflectionInfo=NONE)
    | _service(
        "grpc.channelz.v1.Channelz",
        GetTopChannels=ALL_READ,
        GetServers=ALL_READ,
        GetServer=ALL_READ,
        GetServerSockets=ALL_READ,
        GetChannel=ALL_READ,
        GetSubchannel=ALL_READ,
        GetSocket=ALL_READ,
    )
)

HOW_FAR: Mapping[str, Scope] = MappingProxyType(
    _ELEMENTS | _EVERYWHERE | _INGEST_AND_QUERY | _ADMIN | _INFRASTRUCTURE
)


def require_reach(method: str, caller: Caller) -> None:
    """Let `caller` call `method` as far as namespaces go.

    Raises:
        PermissionDenied: it concerns all namespaces, and the caller does not reach all; or the
            table does not know it.
    """
    scope = HOW_FAR.get(method)
    if scope is NAMESPACED or scope is NONE:
        return
    if scope is None:
        raise PermissionDenied(f"nobody may call {method}", reason="NAMESPACE")
    reached = caller.namespaces_read if scope is ALL_READ else caller.namespaces_write
    if ALL_NAMESPACES not in reached:
        verb = "read" if scope is ALL_READ else "write"
        raise PermissionDenied(
            f"{method} concerns all namespaces, and the token may not {verb} all of them: ask an"
            " ADMIN for an account with namespaces `*`",
            reason="NAMESPACE",
        )

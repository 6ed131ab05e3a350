"""The one table of who may call what. A method that is not in it is denied to everybody."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mesh.identity.caller import Role

ANYBODY = frozenset(Role)
READERS = frozenset({Role.READONLY, Role.USER, Role.AUDITOR, Role.SERVICE, Role.ADMIN})
# An auditor looks and never writes, so it is not "above" a user.
USERS = frozenset({Role.USER, Role.SERVICE, Role.ADMIN})
# A file is finalized on behalf of a user, never by a server for itself.
FINALIZERS = frozenset({Role.USER, Role.ADMIN})
SERVERS = frozenset({Role.SERVICE, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
AUDITORS = frozenset({Role.AUDITOR, Role.ADMIN})
# What servers do to each other; an ADMIN asks for it by the call behind which it stands.
ONLY_SERVERS = frozenset({Role.SERVICE})
# The steps of a file's life: of the servers it is admin that decides them, and no other.
OF_ADMIN_ITSELF = "/artstore.v1.TransferService/"


def _service(name: str, methods: Mapping[str, frozenset[Role]]) -> dict[str, frozenset[Role]]:
    return {f"/{name}/{method}": roles for method, roles in methods.items()}


_STORAGE = _service(
    "artstore.v1.StorageService",
    {
        "Upload": SERVERS,
        "StartUpload": SERVERS,
        "WriteUpload": USERS,
        "GetUpload": USERS,
        "ListUploads": USERS,
        "GetUploadTotals": ONLY_SERVERS,
        "CommitUpload": USERS,
        "AbortUpload": USERS,
        "Download": READERS,
        "GetFile": READERS,
        "BatchGetFiles": READERS,
        "ListFiles": READERS,
        "UpdateFile": USERS,
        "DeleteFile": USERS,
        "UndeleteFile": USERS,
        "GetElement": READERS,
        "SetMode": ADMINS,
        "SetDrain": ADMINS,
        "WatchChanges": SERVERS,
    },
)
_CACHE = _service(
    "artstore.v1.CacheService",
    {
        "CheckConsistency": AUDITORS,
        "RebuildCache": ADMINS,
        "RebuildCacheIncremental": ADMINS,
        "CleanupExpired": ADMINS,
        "ListLocks": AUDITORS,
        "ReleaseLock": ADMINS,
    },
)
_TRANSFER = _service(
    "artstore.v1.TransferService",
    dict.fromkeys(
        (
            "PullFile",
            "MarkMoved",
            "SyncCopy",
            "Activate",
            "Collect",
            "Hold",
            "Heal",
            "Erase",
            "OpenElement",
            "CollectLeftovers",
            "MakePermanent",
        ),
        ONLY_SERVERS,
    ),
)
_EVERYWHERE = _service(
    "artstore.v1.OperationService",
    {
        "GetOperation": AUDITORS,
        "ListOperations": AUDITORS,
        "WatchOperation": AUDITORS,
        "CancelOperation": ADMINS,
    },
) | _service("artstore.v1.ServerService", {"GetServerInfo": READERS})
_INGEST = _service(
    "artstore.v1.IngestService",
    dict.fromkeys(
        (
            "Upload",
            "StartUpload",
            "WriteUpload",
            "GetUpload",
            "CommitUpload",
            "AbortUpload",
            "GetFinalization",
        ),
        USERS,
    )
    | {"FinalizeFile": FINALIZERS},
)
_QUERY = _service(
    "artstore.v1.QueryService",
    {
        "SearchFiles": READERS,
        "GetFile": READERS,
        "DownloadFile": READERS,
        "SyncIndex": ADMINS,
        "GetSyncStatus": READERS,
    },
)
_ADMIN = (
    _service(
        "artstore.v1.TokenService",
        {
            "IssueToken": ANYBODY,
            "GetJwks": ANYBODY,
            "RotateKeys": ADMINS,
            "ListSuspensions": SERVERS,
        },
    )
    | _service(
        "artstore.v1.ServiceAccountService",
        {
            "CreateServiceAccount": ADMINS,
            "GetServiceAccount": AUDITORS,
            "ListServiceAccounts": AUDITORS,
            "UpdateServiceAccount": ADMINS,
            "DeleteServiceAccount": ADMINS,
            "RotateServiceAccount": ADMINS,
            "SuspendServiceAccount": ADMINS,
            "ResumeServiceAccount": ADMINS,
        },
    )
    | _service(
        "artstore.v1.StorageElementService",
        {
            "CreateStorageElement": ADMINS,
            "AdmitStorageElement": ADMINS,
            "ReportStorageElement": ONLY_SERVERS,
            "GetStorageElement": READERS,
            "ListStorageElements": READERS,
            "UpdateStorageElement": ADMINS,
            "WatchStorageElements": READERS,
            "RetireStorageElement": ADMINS,
            "MarkStorageElementLost": ADMINS,
            "OpenStorageElement": ADMINS,
            "MarkStorageElementRestored": ADMINS,
        },
    )
    | _service(
        "artstore.v1.FileRegistryService",
        {
            "GetFile": READERS,
            "ListFiles": READERS,
            "CheckMesh": AUDITORS,
            "ListFindings": AUDITORS,
            "ResolveHome": ADMINS,
        },
    )
    | _service(
        "artstore.v1.LifecycleService",
        {
            # Ingest asks for a FINALIZE on behalf of a USER; the handler tells the kinds apart.
            "MoveFile": SERVERS,
            "SetLegalHold": ADMINS,
            "EraseFile": ADMINS,
            "GetTransfer": USERS,
            "ListTransfers": AUDITORS,
            "CancelTransfer": ADMINS,
            "RetryTransfer": ADMINS,
            "RunCollection": ADMINS,
            "ListCollections": ADMINS,
            "StartEvacuation": ADMINS,
            "GetPolicy": ADMINS,
            "SetPolicy": ADMINS,
            # Elements follow them.
            "ListPolicies": SERVERS,
        },
    )
    | _service(
        "artstore.v1.AuditService",
        {
            "ListAuditEvents": AUDITORS,
            "VerifyAuditEvents": AUDITORS,
            "ExportAuditEvents": AUDITORS,
            "RecordRefusals": ONLY_SERVERS,
        },
    )
    | _service(
        "artstore.v1.BackupService",
        dict.fromkeys(("RunBackup", "ListBackups", "VerifyBackup"), ADMINS),
    )
    | _service("artstore.v1.DrillService", {"RunDrill": ADMINS})
)
_INFRASTRUCTURE = (
    _service("grpc.health.v1.Health", dict.fromkeys(("Check", "Watch", "List"), ANYBODY))
    | _service("grpc.reflection.v1alpha.ServerReflection", {"ServerReflectionInfo": ANYBODY})
    | _service("grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": ANYBODY})
    | _service(
        "grpc.channelz.v1.Channelz",
        dict.fromkeys(
            (
                "GetTopChannels",
                "GetServers",
                "GetServer",
                "GetServerSockets",
                "GetChannel",
                "GetSubchannel",
                "GetSocket",
            ),
            ADMINS,
        ),
    )
)

WHO_MAY: Mapping[str, frozenset[Role]] = MappingProxyType(
    _STORAGE | _TRANSFER | _CACHE | _EVERYWHERE | _INGEST | _QUERY | _ADMIN | _INFRASTRUCTURE
)

# Which roles the caller must have on whose behalf a server calls, where that is not what the server
# itself must have: these calls are made by servers, for a user or for an ADMIN.
BEHIND_A_SERVER: Mapping[str, frozenset[Role]] = MappingProxyType(
    dict.fromkeys(
        ("/artstore.v1.StorageService/Upload", "/artstore.v1.StorageService/StartUpload"), USERS
    )
    | dict.fromkeys(_TRANSFER, ADMINS)
    | dict.fromkeys(
        (
            "/artstore.v1.TransferService/MakePermanent",
            "/artstore.v1.LifecycleService/MoveFile",
        ),
        USERS,
    )
)

ENDLESS = frozenset(
    {
        "/artstore.v1.StorageService/WatchChanges",
        "/artstore.v1.StorageElementService/WatchStorageElements",
        "/artstore.v1.OperationService/WatchOperation",
    }
)
"""Streams that go on for as long as somebody listens: they end with the token they began with."""

_NOBODY: frozenset[Role] = frozenset()


def roles_for(method: str) -> frozenset[Role]:
    """Roles that may call `method`, a path like `/artstore.v1.StorageService/Upload`.

    Empty for a method that the table does not know: denied to all.
    """
    return WHO_MAY.get(method, _NOBODY)


def roles_behind(method: str) -> frozenset[Role]:
    """Roles that the caller must have whose token a server passes on as `artstore-caller`."""
    return BEHIND_A_SERVER.get(method) or roles_for(method)

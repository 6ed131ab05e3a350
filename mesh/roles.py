"""The one table of who may call what. A method that is not in it is denied to everybody."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mesh.caller import Role

ANYBODY = frozenset(Role)
READERS = frozenset({Role.READONLY, Role.USER, Role.AUDITOR, Role.SERVICE, Role.ADMIN})
# An auditor looks and never writes, so it is not "above" a user.
USERS = frozenset({Role.USER, Role.SERVICE, Role.ADMIN})
SERVERS = frozenset({Role.SERVICE, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
AUDITORS = frozenset({Role.AUDITOR, Role.ADMIN})


def _service(name: str, methods: Mapping[str, frozenset[Role]]) -> dict[str, frozenset[Role]]:
    return {f"/{name}/{method}": roles for method, roles in methods.items()}


_STORAGE = _service(
    "artstore.v1.StorageService",
    {
        "Upload": SERVERS,
        "StartUpload": SERVERS,
        "WriteUpload": USERS,
        "GetUpload": USERS,
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
        "WatchOperation": AUDITORS,
        "CancelOperation": ADMINS,
        "ListLocks": AUDITORS,
        "ReleaseLock": ADMINS,
    },
)
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
            "FinalizeFile",
            "GetFinalization",
        ),
        USERS,
    ),
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
    _service("artstore.v1.TokenService", {"IssueToken": ANYBODY, "GetJwks": ANYBODY})
    | _service(
        "artstore.v1.ServiceAccountService",
        {
            "CreateServiceAccount": ADMINS,
            "ListServiceAccounts": AUDITORS,
            "RotateServiceAccount": ADMINS,
            "SuspendServiceAccount": ADMINS,
            "ResumeServiceAccount": ADMINS,
        },
    )
    | _service(
        "artstore.v1.StorageElementService",
        {
            "RegisterStorageElement": SERVERS,
            "GetStorageElement": READERS,
            "ListStorageElements": READERS,
            "UpdateStorageElement": ADMINS,
            "WatchStorageElements": READERS,
        },
    )
    | _service("artstore.v1.FileRegistryService", {"GetFile": READERS, "ListFiles": READERS})
    | _service("artstore.v1.LifecycleService", {"RunCollection": ADMINS, "ListCollections": ADMINS})
    | _service(
        "artstore.v1.AuditService", {"ListAuditEvents": AUDITORS, "VerifyAuditEvents": AUDITORS}
    )
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
    _STORAGE | _CACHE | _INGEST | _QUERY | _ADMIN | _INFRASTRUCTURE
)

_NOBODY: frozenset[Role] = frozenset()


def roles_for(method: str) -> frozenset[Role]:
    """Roles that may call `method`, a path like `/artstore.v1.StorageService/Upload`.

    Empty for a method that the table does not know: denied to all.
    """
    return WHO_MAY.get(method, _NOBODY)

"""Client of ArtStore: `Client` for asyncio, `SyncClient` for scripts, and the `artstore` command.

async with Client.connect() as client:
    uploaded = await client.upload("report.pdf", tags=["2026"])
    await client.download(uploaded.file_id, "copy.pdf")
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from artstore_client.accounts import AccountCalls, KeyCalls
    from artstore_client.audit import AuditCalls
    from artstore_client.cache import CacheCalls
    from artstore_client.calls.waiting import Waiting
    from artstore_client.client import Client
    from artstore_client.erasure import ErasureCalls
    from artstore_client.errors import (
        Aborted,
        AlreadyExists,
        ArtStoreError,
        ConfigurationError,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        Internal,
        InvalidArgument,
        NotFound,
        NotTrusted,
        OutOfRange,
        PermissionDenied,
        ResourceExhausted,
        SourceChanged,
        Unauthenticated,
        Unavailable,
        Unimplemented,
    )
    from artstore_client.explaining.explanation import Explanation
    from artstore_client.open_uploads import OpenUploads
    from artstore_client.policies import PolicyCalls
    from artstore_client.results import DownloadedFile, ElementReport, Progress, UploadedFile
    from artstore_client.retention import RetentionCalls
    from artstore_client.sync import (
        SyncAccountCalls,
        SyncAuditCalls,
        SyncCacheCalls,
        SyncClient,
        SyncErasureCalls,
        SyncKeyCalls,
        SyncOpenUploads,
    )
    from artstore_client.sync_policies import SyncPolicyCalls, SyncRetentionCalls
    from artstore_client.sync_transfers import SyncTransferCalls
    from artstore_client.transfers import TransferCalls
    from artstore_client.uploads.sources import UploadSource

__all__ = [
    "Aborted",
    "AccountCalls",
    "AlreadyExists",
    "ArtStoreError",
    "AuditCalls",
    "CacheCalls",
    "Client",
    "ConfigurationError",
    "DataLoss",
    "DeadlineExceeded",
    "DownloadedFile",
    "ElementReport",
    "ErasureCalls",
    "Explanation",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "KeyCalls",
    "NotFound",
    "NotTrusted",
    "OpenUploads",
    "OutOfRange",
    "PermissionDenied",
    "PolicyCalls",
    "Progress",
    "ResourceExhausted",
    "RetentionCalls",
    "SourceChanged",
    "SyncAccountCalls",
    "SyncAuditCalls",
    "SyncCacheCalls",
    "SyncClient",
    "SyncErasureCalls",
    "SyncKeyCalls",
    "SyncOpenUploads",
    "SyncPolicyCalls",
    "SyncRetentionCalls",
    "SyncTransferCalls",
    "TransferCalls",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UploadSource",
    "UploadedFile",
    "Waiting",
]

# Imported when they are asked for: the command must heed Ctrl-C before half a second of imports.
_HOMES = {
    "Aborted": "errors",
    "AccountCalls": "accounts",
    "AlreadyExists": "errors",
    "ArtStoreError": "errors",
    "AuditCalls": "audit",
    "CacheCalls": "cache",
    "Client": "client",
    "ConfigurationError": "errors",
    "DataLoss": "errors",
    "DeadlineExceeded": "errors",
    "DownloadedFile": "results",
    "ElementReport": "results",
    "ErasureCalls": "erasure",
    "Explanation": "explaining.explanation",
    "FailedPrecondition": "errors",
    "Internal": "errors",
    "InvalidArgument": "errors",
    "KeyCalls": "accounts",
    "NotFound": "errors",
    "NotTrusted": "errors",
    "OpenUploads": "open_uploads",
    "OutOfRange": "errors",
    "PermissionDenied": "errors",
    "PolicyCalls": "policies",
    "Progress": "results",
    "ResourceExhausted": "errors",
    "RetentionCalls": "retention",
    "SourceChanged": "errors",
    "SyncAccountCalls": "sync",
    "SyncAuditCalls": "sync",
    "SyncCacheCalls": "sync",
    "SyncClient": "sync",
    "SyncErasureCalls": "sync",
    "SyncKeyCalls": "sync",
    "SyncOpenUploads": "sync",
    "SyncPolicyCalls": "sync_policies",
    "SyncRetentionCalls": "sync_policies",
    "SyncTransferCalls": "sync_transfers",
    "TransferCalls": "transfers",
    "Unauthenticated": "errors",
    "Unavailable": "errors",
    "Unimplemented": "errors",
    "UploadSource": "uploads.sources",
    "UploadedFile": "results",
    "Waiting": "calls.waiting",
}


def __getattr__(name: str) -> object:
    """A public name from its module, or a module of this package."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        try:
            value = importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

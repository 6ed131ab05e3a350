"""Client of ArtStore: `Client` for asyncio, `SyncClient` for scripts, and the `artstore` command.

async with Client.connect() as client:
    uploaded = await client.upload("report.pdf", tags=["2026"])
    await client.download(uploaded.file_id, "copy.pdf")
"""

from artstore_client.cache import CacheCalls
from artstore_client.client import Client
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
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    SourceChanged,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from artstore_client.results import DownloadedFile, ElementReport, Progress, UploadedFile
from artstore_client.sources import UploadSource
from artstore_client.sync import SyncCacheCalls, SyncClient
from artstore_client.waiting import Waiting

__all__ = [
    "Aborted",
    "AlreadyExists",
    "ArtStoreError",
    "CacheCalls",
    "Client",
    "ConfigurationError",
    "DataLoss",
    "DeadlineExceeded",
    "DownloadedFile",
    "ElementReport",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "Progress",
    "ResourceExhausted",
    "SourceChanged",
    "SyncCacheCalls",
    "SyncClient",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UploadSource",
    "UploadedFile",
    "Waiting",
]

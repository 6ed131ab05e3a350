"""Opening the store that the configuration names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from storage_server.store.local import LocalStore
from storage_server.store.port import Store


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where an element keeps its files: in `root`, or on S3 when `endpoint_url` or `bucket` is set.

    Attributes:
        root: folder of the element, made if missing; on S3 what is too much for the memory of
            this process goes to files without a name beside it.
        endpoint_url: of the S3 server; empty with a bucket means Amazon's.
        bucket: made if missing.
        prefix: of the element's keys, without a slash at the end: `storage_element_01`.
        max_connections: to the S3 server.
        access_key, secret_key, region: empty means the usual AWS_ variables.
        deadline_seconds: how long a call waits for the disk or the server.
        patient_seconds: the same for calls that have much to move, to force to the disk or to
            list.
    """

    root: Path = Path()
    endpoint_url: str = ""
    bucket: str = ""
    prefix: str = ""
    max_connections: int = 64
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    region: str = ""
    deadline_seconds: float = 8.0
    patient_seconds: float = 30.0


async def open_store(config: StoreConfig) -> Store:
    """The store of `config`.

    Raises:
        Unavailable: the S3 server is down, silent or refuses; a disk is met by the calls.
    """
    if not config.bucket:
        return await LocalStore.open(
            config.root,
            deadline_seconds=config.deadline_seconds,
            patient_seconds=config.patient_seconds,
        )
    # Imported only here: an element on a disk starts faster without it.
    from storage_server.store.s3 import S3Store
    from storage_server.store.s3_config import S3Config

    return await S3Store.open(
        S3Config(
            endpoint_url=config.endpoint_url,
            bucket=config.bucket,
            prefix=config.prefix,
            access_key=config.access_key,
            secret_key=config.secret_key,
            region=config.region,
            max_connections=config.max_connections,
            deadline_seconds=config.deadline_seconds,
            patient_seconds=config.patient_seconds,
            folder=config.root.parent if config.root.name else None,
        )
    )

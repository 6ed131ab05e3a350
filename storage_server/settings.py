"""Settings of a storage element, read from the environment."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from mesh.settings import MeshSettings, Port
from storage_server.catalog.tables import Tables, folder_of, prefix_of
from storage_server.domain.modes import Mode, default_cache_ttl_hours

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_TTL_HOURS = 24 * 365


class StorageSettings(MeshSettings):
    """What a storage element is told besides what every server is."""

    port: Port = Field(default=8010, description="Port before the offset.")
    element_id: str = Field(default="se-01", description="Name of the element: se-NN.")
    mode: Mode = Field(
        default=Mode.EDIT, description="Mode at the first start; element.json keeps it then."
    )
    priority: int = Field(default=100, description="Sequential Fill takes the lowest first.")
    capacity_bytes: int = Field(
        default=100 * 1024**3, ge=0, description="Bytes that the element may hold."
    )
    store_folder: str = Field(
        default="", description="Folder or S3 prefix; unset: storage_element_NN."
    )
    store_table: str = Field(
        default="", description="Prefix of the tables; unset: storage_elem_NN_."
    )
    s3_endpoint_url: str = Field(default="", description="S3 server; unset: local files.")
    s3_bucket: str = Field(default="", description="Bucket, made if missing.")
    s3_max_connections: int = Field(default=64, ge=4, description="Connections to the S3 server.")
    store_patient_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that disk or S3 may take to take what is much, such as one part.",
    )
    trash_days: float = Field(
        default=7.0, ge=0, description="Days until a deleted file's bytes go; 0: at once."
    )
    cache_ttl_hours: int | None = Field(
        default=None,
        ge=1,
        le=_MAX_TTL_HOURS,
        description="Hours that a cache row counts as fresh; unset: by mode, 24 or 168.",
    )
    upload_idle_days: float = Field(
        default=7.0, gt=0, description="Days after which an idle resumable upload is dropped."
    )
    upload_lapse_seconds: float = Field(
        default=900.0,
        gt=0,
        description="Seconds until an upload or move that sent no byte gives its room back.",
    )
    orphan_days: float = Field(
        default=7.0, ge=0, description="Days that a blob without a sidecar stays where it is."
    )
    quarantine_days: float = Field(
        default=30.0, ge=0, description="Days that what was set aside stays in quarantine."
    )
    feed_keep_changes: int = Field(
        default=100_000, ge=1, description="Changes kept for followers that were away."
    )
    audit_wait_days: float = Field(
        default=30.0, ge=0, description="Days that changes are kept until the audit has them."
    )
    stream_idle_seconds: float = Field(
        default=300.0, gt=0, description="Seconds that an open upload stream may stay silent."
    )

    write_probe_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds between two proofs that the store takes writes.",
    )
    lock_seconds: float = Field(
        default=15.0,
        ge=0.5,
        le=600,
        description="Seconds after which the cache lock of a dead process ends.",
    )
    clock_tolerance_seconds: float = Field(
        default=300.0,
        gt=0,
        description="Seconds that the clock may differ from PostgreSQL's and Redis's.",
    )
    scrub_bytes_per_second: int = Field(
        default=64 * 1024**2, ge=0, description="Rate of a DEEP check's hashing; 0: no limit."
    )

    @field_validator("element_id")
    @classmethod
    def _element_id_is_one(cls, value: str) -> str:
        prefix_of(value)
        return value

    @field_validator("store_folder")
    @classmethod
    def _folder_is_a_name(cls, value: str) -> str:
        if value and _FOLDER.fullmatch(value) is None:
            raise ValueError("must be one name of letters, digits, '.', '_' and '-'")
        return value

    @field_validator("store_table")
    @classmethod
    def _prefix_is_one(cls, value: str) -> str:
        if value:
            Tables(_table_prefix(value))
        return value

    @model_validator(mode="after")
    def _bucket_has_its_server(self) -> Self:
        if bool(self.s3_endpoint_url) != bool(self.s3_bucket):
            raise ValueError("S3_ENDPOINT_URL and S3_BUCKET are set together or not at all")
        return self

    @property
    def tables(self) -> Tables:
        """Names of the element's tables."""
        return Tables(
            _table_prefix(self.store_table) if self.store_table else prefix_of(self.element_id)
        )

    @property
    def folder(self) -> str:
        """Name of the element's folder below data_dir, or its prefix in the bucket."""
        return self.store_folder or folder_of(self.element_id)

    def ttl_hours(self, mode: Mode) -> int:
        """Hours that a cache row counts as fresh while the element is in `mode`."""
        return self.cache_ttl_hours or default_cache_ttl_hours(mode)


def _table_prefix(text: str) -> str:
    """`storage_elem_01_` however the table was named: with `files`, or without the last `_`."""
    return text.removesuffix("files").rstrip("_") + "_"

"""What the admin server reads from the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from mesh.postgres.urls import database_name, with_database
from mesh.settings import MeshSettings, Port

_DAY_SECONDS = 86_400


class AdminSettings(MeshSettings):
    """Settings of admin, beside those that every server has."""

    port: Port = Field(default=8000, description="Port before the offset; 0 takes a free one.")
    admin_database: str = Field(
        default="",
        description="Admin's own database; unset: the name in DATABASE_URL + _admin.",
    )
    bootstrap_file: Path | None = Field(
        default=None, description="JSON file of accounts to make at start if they are missing."
    )
    bootstrap_accounts: SecretStr = Field(
        default=SecretStr(""), description="That JSON itself, for where no file can be put."
    )
    reconcile_seconds: float = Field(
        default=3600.0, gt=0, description="Between whole snapshots of an element's files."
    )
    key_rotation_days: float = Field(
        default=30.0, gt=0, le=3650, description="Days that a signing key signs."
    )
    transfers: int = Field(
        default=8, gt=0, le=100, description="Files that one admin moves at a time."
    )
    transfers_per_element: int = Field(
        default=4, gt=0, le=100, description="Of these, from and to one element, of all admins."
    )
    transfers_per_account: int = Field(
        default=10_000,
        gt=0,
        description="Transfers under way at most that one account asked for; ADMINs have no limit.",
    )
    transfer_retry_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Before a transfer that failed is tried again; doubled, to 15 min at most.",
    )
    transfer_lease_seconds: float = Field(
        default=15.0, gt=0, description="After so long others take up what a killed admin had."
    )
    ticket_seconds: float = Field(
        default=900.0, ge=1, le=3600, description="Life of a ticket to read one file."
    )
    decisions_live_seconds: float = Field(
        default=60.0, gt=0, le=60, description="How long a step may change something once decided."
    )
    first_home_step_seconds: float = Field(
        default=60.0,
        ge=0,
        description="With new or restored tables, before a file's home is changed.",
    )
    transfer_keep_days: float = Field(
        default=90.0, gt=0, description="How long a transfer that has ended is still shown."
    )
    sweep_seconds: float = Field(
        default=30.0, gt=0, description="Between looks for moves that nobody works on."
    )
    moved_keep_hours: float = Field(
        default=24.0, gt=0, description="How long the source of a move still gives bytes."
    )
    incoming_keep_days: float = Field(
        default=7.0, gt=0, description="How long bytes that arrived wait for a transfer."
    )

    collection_seconds: float = Field(
        default=3600.0, ge=0, description="Between two collections; 0: only when asked for."
    )
    collection_files_per_second: float = Field(
        default=200.0, ge=0, description="Files that a collection looks at; 0: no limit."
    )
    expired_keep_hours: float = Field(
        default=24.0, ge=0, description="Hours from a file's expiry until it is collected."
    )
    tombstone_days: float = Field(
        default=30.0,
        gt=0,
        description="Days until the record of a deleted file goes, once nothing else is left.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not database_name(self.database_url):
            raise ValueError("ARTSTORE_DATABASE_URL must be a libpq URI that names a database")
        if self.bootstrap_file is not None and self.bootstrap_accounts.get_secret_value():
            raise ValueError("BOOTSTRAP_FILE or BOOTSTRAP_ACCOUNTS is set, not both")
        if self.first_home_step_seconds < self.decisions_live_seconds:
            raise ValueError(
                f"FIRST_HOME_STEP_SECONDS ({self.first_home_step_seconds:g}) must be"
                f" DECISIONS_LIVE_SECONDS ({self.decisions_live_seconds:g}) at least: what was"
                " decided before the tables were lost may be taken for so long"
            )
        in_flight = self.ticket_seconds + self.decisions_live_seconds
        if self.tombstone_days * _DAY_SECONDS <= in_flight:
            raise ValueError(
                f"TOMBSTONE_DAYS ({self.tombstone_days:g}) must be more than {in_flight:g} s,"
                " TICKET_SECONDS and DECISIONS_LIVE_SECONDS together: for so long a file may be"
                " pulled that its tombstone must stop"
            )
        return self

    @property
    def own_name(self) -> str:
        """The name that admin calls elements by."""
        return self.client_id or "admin-server"

    @property
    def admin_database_name(self) -> str:
        """Name of admin's own database; `artstore_admin` beside `artstore`."""
        return self.admin_database or f"{database_name(self.database_url)}_admin"

    @property
    def admin_database_url(self) -> str:
        """libpq URI of admin's own database."""
        return with_database(self.database_url, self.admin_database_name)

    @property
    def key_rotation(self) -> timedelta:
        """How long a signing key signs."""
        return timedelta(days=self.key_rotation_days)

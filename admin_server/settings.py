"""What the admin server reads from the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from mesh.postgres.urls import database_name, with_database
from mesh.settings import MeshSettings, Port


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

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not database_name(self.database_url):
            raise ValueError("ARTSTORE_DATABASE_URL must be a libpq URI that names a database")
        if self.bootstrap_file is not None and self.bootstrap_accounts.get_secret_value():
            raise ValueError("BOOTSTRAP_FILE or BOOTSTRAP_ACCOUNTS is set, not both")
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

"""Settings every server shares, read once from the environment at start."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.service_urls import checked_postgres_url, checked_redis_url
from mesh.targets import target_of

ENV_PREFIX = "ARTSTORE_"
METRICS_PORT_DISTANCE = 1000

Port = Annotated[int, Field(ge=0, le=65535)]
S = TypeVar("S", bound="MeshSettings")


class SettingsError(Exception):
    """Some settings are wrong; the message has a line for each, with key and value."""


class MeshSettings(BaseSettings):
    """What every server is told. Each field is `ARTSTORE_` + its name in upper case.

    A server subclasses it, gives `port` its own default and adds what only it needs.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    database_url: Annotated[str, AfterValidator(checked_postgres_url)] = Field(
        default="", repr=False, description="libpq URI of the database `artstore`."
    )
    redis_url: Annotated[str, AfterValidator(checked_redis_url)] = Field(
        default="", repr=False, description="redis://, rediss:// or unix:// URL of Valkey."
    )
    data_dir: Path = Field(
        default=Path(".artstore"), description="Folder of stores, keys and uploads."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=0, description="Port before the offset; 0 takes a free one.")
    port_offset: int = Field(
        default=0, ge=0, le=50000, description="Added to port and to the default admin endpoint."
    )
    metrics_port: Port | None = Field(
        default=None, description="Prometheus over HTTP; unset: port + 1000; 0: off."
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address that the Prometheus page listens on."
    )
    admin_endpoint: str = Field(
        default="",
        description="host:port of admin, or of several: a:port,b:port of addresses, or"
        " dns:///name:port of a name that has several; unset: this host's.",
    )
    advertised_endpoint: str = Field(
        default="",
        description="host:port that others reach this server at; unset: where it listens.",
    )
    client_id: str = Field(default="", description="The server's own account.")
    client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret.")
    keys_path: Path | None = Field(
        default=None, description="Where admin's public keys are kept; unset: in data_dir."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_path: Path | None = Field(default=None, description="Log file; unset: standard error.")
    log_max_bytes: int = Field(
        default=64 * 2**20,
        ge=0,
        description="Size from which the log file is put aside, as .1 to .3; 0: never.",
    )
    refusal_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds within which equal refused calls are one event of the audit.",
    )
    token_seconds: int = Field(default=900, ge=5, le=86400, description="Life of access tokens.")
    limits: str = Field(
        default="",
        description="JSON of what differs from the table of limits: docs/limits.md.",
    )
    tls_cert_file: Path | None = Field(default=None, description="PEM certificate chain.")
    tls_key_file: Path | None = Field(default=None, description="PEM private key.")
    tls_ca_file: Path | None = Field(
        default=None, description="PEM roots to trust when calling other servers."
    )
    tls_client_ca_file: Path | None = Field(
        default=None,
        description="PEM roots of clients' certificates; set: who shows none is refused.",
    )

    @field_validator("admin_endpoint")
    @classmethod
    def _is_a_target(cls, endpoint: str) -> str:
        target_of(endpoint)
        return endpoint

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE are set together or not at all")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE")
        return self

    @property
    def listen_port(self) -> int:
        """Port to bind, offset included; 0 when any free one will do."""
        return self.port + self.port_offset if self.port else 0

    @property
    def listen_metrics_port(self) -> int:
        """Port of the metrics page; 0 when there is none."""
        if self.metrics_port is not None:
            return self.metrics_port
        return self.listen_port + METRICS_PORT_DISTANCE if self.port else 0

    @property
    def admin_address(self) -> str:
        """Where admin is, or several of them."""
        return self.admin_endpoint or f"127.0.0.1:{8000 + self.port_offset}"

    @property
    def keys_file(self) -> Path:
        """Where admin's public keys survive a restart. Public keys: servers may share it."""
        return self.keys_path or self.data_dir / "keys" / "jwks.json"

    @property
    def suspensions_file(self) -> Path:
        """Where admin's list of suspended accounts survives a restart: beside the keys."""
        return self.keys_file.with_name("suspensions.json")

    @property
    def policies_file(self) -> Path:
        """Where admin's list of the policies of namespaces survives a restart of an element."""
        return self.keys_file.with_name("policies.json")


def load(settings_type: type[S]) -> S:
    """Read the environment.

    Raises:
        SettingsError: naming each wrong key with its value; secrets are left out.
    """
    try:
        return settings_type()
    except ValidationError as exc:
        lines = [_error_line(settings_type, dict(error)) for error in exc.errors()]
        raise SettingsError("\n".join(lines)) from None


def _error_line(settings_type: type[MeshSettings], error: dict[str, Any]) -> str:
    location = error.get("loc") or ()
    name = str(location[0]) if location else ""
    key = ENV_PREFIX + name.upper() if name else "settings"
    message = str(error.get("msg", "")).removeprefix("Value error, ")
    if not name or error.get("type") == "missing" or _is_secret(settings_type, name):
        return f"{key}: {message}"
    return f"{key}={error.get('input')!r}: {message}"


def _is_secret(settings_type: type[MeshSettings], name: str) -> bool:
    field = settings_type.model_fields.get(name)
    if field is None:
        return False
    return field.repr is False or "SecretStr" in repr(field.annotation)


def resolved(settings: MeshSettings, **others: object) -> str:
    """The settings as JSON, passwords and secrets masked.

    Args:
        others: shown in place of a field, as what it comes to.
    """
    shown: dict[str, object] = {}
    for name, value in settings.model_dump().items():
        if name in others:
            shown[ENV_PREFIX + name.upper()] = others[name]
        elif isinstance(value, SecretStr):
            shown[ENV_PREFIX + name.upper()] = "***" if value.get_secret_value() else ""
        elif isinstance(value, str):
            shown[ENV_PREFIX + name.upper()] = without_password(value)
        else:
            shown[ENV_PREFIX + name.upper()] = value
    as_text: Callable[[object], str] = str
    return json.dumps(shown, indent=2, default=as_text)


def without_password(url: str) -> str:
    """`url` with the password in its authority or query masked."""
    url = re.sub(r"(://[^:/@?]*):[^@/?]*@", r"\1:***@", url)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", url)

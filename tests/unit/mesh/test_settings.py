"""Settings: where they come from, how wrong ones are named, what is never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.settings import MeshSettings, SettingsError, load, resolved, without_password


@pytest.fixture(autouse=True)
def only_given_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for key in [key for key in os.environ if key.startswith("ARTSTORE_")]:
        monkeypatch.delenv(key)


def test_the_offset_moves_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTSTORE_PORT", "8010")
    monkeypatch.setenv("ARTSTORE_PORT_OFFSET", "500")
    settings = load(MeshSettings)
    assert settings.listen_port == 8510
    assert settings.listen_metrics_port == 9510
    assert settings.admin_address == "127.0.0.1:8500"


def test_a_free_port_stays_free_and_has_no_metrics_page() -> None:
    settings = MeshSettings(port=0, port_offset=500)
    assert (settings.listen_port, settings.listen_metrics_port) == (0, 0)


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("ARTSTORE_HOST", "0.0.0.0", "host"),
        ("ARTSTORE_DATABASE_URL", "postgresql://h/a", "database_url"),
        ("ARTSTORE_REDIS_URL", "redis://h/1", "redis_url"),
        ("ARTSTORE_DATA_DIR", "/data", "data_dir"),
        ("ARTSTORE_ADMIN_ENDPOINT", "admin:8000", "admin_address"),
        ("ARTSTORE_ADVERTISED_ENDPOINT", "se-01:8010", "advertised_endpoint"),
        ("ARTSTORE_METRICS_PORT", "0", "listen_metrics_port"),
        ("ARTSTORE_METRICS_HOST", "0.0.0.0", "metrics_host"),
        ("ARTSTORE_KEYS_PATH", "/keys.json", "keys_file"),
        ("ARTSTORE_CLIENT_ID", "se-01", "client_id"),
        ("ARTSTORE_LOG_LEVEL", "debug", "log_level"),
        ("ARTSTORE_LOG_PATH", "/log", "log_path"),
        ("ARTSTORE_LOG_MAX_BYTES", "0", "log_max_bytes"),
        ("ARTSTORE_TOKEN_SECONDS", "60", "token_seconds"),
        ("ARTSTORE_TLS_CA_FILE", "/ca", "tls_ca_file"),
    ],
)
def test_each_key_has_an_effect(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, name: str
) -> None:
    monkeypatch.setenv(key, value)
    assert str(getattr(load(MeshSettings), name)) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ARTSTORE_PORT", "many"),
        ("ARTSTORE_PORT", "70000"),
        ("ARTSTORE_TOKEN_SECONDS", "1"),
        ("ARTSTORE_LOG_LEVEL", "loud"),
        ("ARTSTORE_ADMIN_ENDPOINT", "admin-1:8000,admin-2:8000"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=f"{key}='{value}'"):
        load(MeshSettings)


def test_a_certificate_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTSTORE_TLS_CERT_FILE", "/cert.pem")
    with pytest.raises(SettingsError, match="TLS_KEY_FILE"):
        load(MeshSettings)


def test_authorities_of_clients_need_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTSTORE_TLS_CLIENT_CA_FILE", "/ca.pem")
    with pytest.raises(SettingsError, match="TLS_CERT_FILE"):
        load(MeshSettings)


def test_secrets_are_not_shown() -> None:
    settings = MeshSettings(
        client_secret="hush",  # type: ignore[arg-type]
        database_url="postgresql://u:hush@h/a",
        redis_url="redis://:hush@h/0",
        data_dir=Path("/data"),
    )
    shown = resolved(settings)
    assert "hush" not in shown
    assert "hush" not in repr(settings)
    assert json.loads(shown)["ARTSTORE_DATA_DIR"] == "/data"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/a", "postgresql://u:***@h/a"),
        ("postgresql://u@/a?host=/run&password=p", "postgresql://u@/a?host=/run&password=***"),
        ("redis://:p@h/0", "redis://:***@h/0"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, shown: str) -> None:
    assert without_password(url) == shown

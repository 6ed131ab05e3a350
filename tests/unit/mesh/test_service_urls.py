"""URLs of PostgreSQL and Valkey that can't work are refused as settings, without their password."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from mesh.settings import MeshSettings, SettingsError, load

POSTGRES = "postgresql://artstore:hidden@db.example:5432/artstore"
REDIS = "rediss://:hidden@valkey.example:6379/0"


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no certificates where libpq looks for them, but good and bad ones here."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.chdir(tmp_path)
    trustme.CA().cert_pem.write_to_path("ca.pem")
    Path("bad.pem").write_text("no certificate")


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("DATABASE_URL", POSTGRES),
        ("DATABASE_URL", "postgresql://u@/artstore?host=/run/postgresql"),
        ("DATABASE_URL", f"{POSTGRES}?sslmode=verify-full&sslrootcert=ca.pem"),
        ("DATABASE_URL", f"{POSTGRES}?sslmode=require"),
        ("REDIS_URL", "redis://:hidden@valkey.example:6379/0"),
        ("REDIS_URL", "unix:///run/valkey.sock?db=0"),
        ("REDIS_URL", REDIS),
        ("REDIS_URL", f"{REDIS}?ssl_ca_certs=ca.pem"),
    ],
)
def test_what_can_work_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, key: str, url: str
) -> None:
    monkeypatch.setenv(f"ARTSTORE_{key}", url)
    assert getattr(load(MeshSettings), key.lower()) == url


@pytest.mark.parametrize(
    ("key", "url", "told"),
    [
        ("DATABASE_URL", f"{POSTGRES}?sslmode=full", "sslmode=full is none of disable"),
        ("DATABASE_URL", f"{POSTGRES}?sslmode=verify-full", "needs sslrootcert=FILE"),
        (
            "DATABASE_URL",
            f"{POSTGRES}?sslmode=verify-full&sslrootcert=none.pem",
            "sslrootcert=none.pem: No such file or directory",
        ),
        (
            "DATABASE_URL",
            f"{POSTGRES}?sslmode=verify-ca&sslrootcert=bad.pem",
            "sslrootcert=bad.pem: no PEM certificate is in it",
        ),
        ("REDIS_URL", f"{REDIS}?ssl_ca_certs=none.pem", "ssl_ca_certs=none.pem: No such file"),
        ("REDIS_URL", f"{REDIS}?ssl_ca_certs=bad.pem", "ssl_ca_certs=bad.pem: no PEM"),
        (
            "REDIS_URL",
            "redis://:hidden@valkey.example:6379/0?ssl_ca_certs=ca.pem",
            "for rediss:// URLs only",
        ),
    ],
)
def test_what_can_not_work_is_named_without_the_password(
    monkeypatch: pytest.MonkeyPatch, key: str, url: str, told: str
) -> None:
    monkeypatch.setenv(f"ARTSTORE_{key}", url)
    with pytest.raises(SettingsError) as refused:
        load(MeshSettings)
    assert str(refused.value).startswith(f"ARTSTORE_{key}: ")
    assert told in str(refused.value)
    assert "hidden" not in str(refused.value)

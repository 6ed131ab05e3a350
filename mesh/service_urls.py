"""URLs of PostgreSQL and Valkey: what is wrong with them is said before anything is connected."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_POSTGRES_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_REDIS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def checked_postgres_url(url: str) -> str:
    """`url` itself, a libpq URI or "".

    Raises:
        ValueError: its sslmode is none, or a file for TLS can't be used. No password is in it.
    """
    asked = _query(url)
    mode = asked.get("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode={mode} is none of {', '.join(_SSL_MODES)}")
    if mode.startswith("verify-") and not _has_root_of_postgres(asked):
        raise ValueError(f"sslmode={mode} needs sslrootcert=FILE, the PEM certificates to trust")
    _look_at(asked, _POSTGRES_FILES, roots="sslrootcert")
    return url


def checked_redis_url(url: str) -> str:
    """`url` itself, a redis:, rediss: or unix: one or "".

    Raises:
        ValueError: a file for TLS can't be used, or is given without TLS. No password is in it.
    """
    asked = _query(url)
    if not url.startswith("rediss:") and any(name.startswith("ssl_") for name in asked):
        raise ValueError("ssl_ options are for rediss:// URLs only, this one is plain text")
    _look_at(asked, _REDIS_FILES, roots="ssl_ca_certs")
    return url


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def _has_root_of_postgres(asked: dict[str, str]) -> bool:
    usual = Path("~/.postgresql/root.crt").expanduser()
    return bool(asked.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")) or usual.exists()


def _look_at(asked: dict[str, str], files: tuple[str, ...], *, roots: str) -> None:
    for name in files:
        if file := asked.get(name):
            try:
                Path(file).read_bytes()
                if name == roots:
                    ssl.create_default_context(cafile=file)
            except ssl.SSLError as exc:
                raise ValueError(f"{name}={file}: no PEM certificate is in it") from exc
            except OSError as exc:
                raise ValueError(f"{name}={file}: {exc.strerror}") from exc

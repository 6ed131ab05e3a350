"""Databases as libpq URIs name them."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit


def database_name(url: str) -> str:
    """The database that a libpq URI names."""
    return urlsplit(url).path.lstrip("/")


def with_database(url: str, name: str) -> str:
    """`url` for another database of the same server and account."""
    parts = urlsplit(url)
    changed = urlunsplit(parts._replace(path=f"/{quote(name)}"))
    # urlunsplit drops the empty authority of socket URLs (postgresql:///db?host=/run).
    if not parts.netloc and "://" not in changed:
        changed = changed.replace(":", "://", 1)
    return changed

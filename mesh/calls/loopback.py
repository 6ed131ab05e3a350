"""Which addresses are this machine's own, so that no proxy of the web has business there."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def on_loopback(endpoint: str) -> bool:
    """Say whether a URL or host:port leads to this very machine, without leaving it."""
    try:
        host = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or ""
    except ValueError:
        return False
    if host.rstrip(".").lower() == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Who connects to the unspecified address gets to his own machine.
    return address.is_loopback or address.is_unspecified

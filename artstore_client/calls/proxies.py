"""The proxy that gRPC reaches a server through, as the environment says: it is never told."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

# As gRPC looks for them, in this order and in this spelling only.
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def goes_direct(endpoint: str) -> bool:
    """Say whether an endpoint is never reached by a proxy: this machine's own, or a list.

    gRPC would ask the proxy for the whole list as if it were one host.
    """
    return "," in endpoint or on_loopback(endpoint)


def on_loopback(endpoint: str) -> bool:
    """Say whether an endpoint of one server is this machine's own."""
    host = _host(endpoint)
    if host == "localhost" or host.endswith(".localhost") or endpoint.startswith("unix:"):
        return True
    address = _address(host)
    # A client that connects to the unspecified address gets to its own machine.
    return address is not None and (address.is_loopback or address.is_unspecified)


def proxy_of(endpoint: str, environment: Mapping[str, str] | None = None) -> str:
    """Return "http://host:port (variable)" of the proxy to an endpoint, "" if there is none.

    Name and password in the variable are left out.

    Args:
        environment: default os.environ.
    """
    env = os.environ if environment is None else environment
    variable = next((name for name in _PROXY_VARIABLES if env.get(name)), "")
    if not variable or goes_direct(endpoint) or _is_excepted(_host(endpoint), env):
        return ""
    told = env[variable]
    try:
        parts = urlsplit(told if "://" in told else f"http://{told}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        return f"of {variable}, which is no URL"
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}{f':{port}' if port else ''} ({variable})"


def _is_excepted(host: str, env: Mapping[str, str]) -> bool:
    told = next((env[name] for name in _EXCEPTIONS if env.get(name)), "")
    address = _address(host)
    for entry in filter(None, (part.strip() for part in told.split(","))):
        if host.endswith(entry.lower()):
            return True
        if address is not None:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
    return False


def _host(endpoint: str) -> str:
    scheme, _, path = endpoint.partition(":")
    if scheme in ("dns", "ipv4", "ipv6"):
        endpoint = path.rpartition("/")[2]
    try:
        return (urlsplit(f"//{endpoint}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

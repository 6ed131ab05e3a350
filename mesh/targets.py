"""Endpoints as gRPC targets: one server, or several that do the same."""

from __future__ import annotations

import ipaddress

SCHEMES = ("dns", "ipv4", "ipv6", "unix")


def target_of(endpoint: str) -> str:
    """Return what gRPC is to be told of an endpoint.

    Args:
        endpoint: `host:port`; `a:port,b:port` of addresses, each of them a server;
            `dns:///name:port`, where each address of the name is one; or any target of gRPC.

    Raises:
        ValueError: it is a list of names, or of what is no host:port.
    """
    if "," not in endpoint or endpoint.partition(":")[0] in SCHEMES:
        return endpoint
    places = [place.strip() for place in endpoint.split(",")]
    kinds = {_kind(place) for place in places}
    if len(kinds) > 1:
        raise ValueError(f"{endpoint!r} mixes addresses of IPv4 and IPv6")
    return f"{kinds.pop()}:{','.join(places)}"


def _kind(place: str) -> str:
    """The scheme for an address with its port."""
    host, _, port = place.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if bracketed is not (address.version == 6):
            raise ValueError
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{place!r} is no address with a port: a list is of addresses; give the servers one"
            " name that has all of them, dns:///name:port"
        ) from None
    return f"ipv{address.version}"

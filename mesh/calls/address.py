"""Where a call comes from, as what is counted by."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote

# Whoever has one address of IPv6 has all of these.
_IPV6_PREFIX = 64


def address_of(peer: str) -> str:
    """The host of gRPC's `ipv4:127.0.0.1:50123`, of IPv6 its /64; of a socket all of `peer`."""
    kind, _, place = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer
    host = place.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))

"""What calls of one place are counted by."""

from __future__ import annotations

import pytest

from mesh.calls.address import address_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50123", "127.0.0.1"),
        ("ipv6:%5B2001:db8::1%5D:50123", "2001:db8::/64"),
        ("ipv6:[2001:db8:0:0:1:2:3:4]:1", "2001:db8::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:1", "192.0.2.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("unix:", "unix:"),
        ("unix:/run/artstore.socket", "unix:/run/artstore.socket"),
        ("", ""),
    ],
)
def test_all_of_one_host_are_counted_together(peer: str, address: str) -> None:
    assert address_of(peer) == address

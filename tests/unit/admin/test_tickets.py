"""Tickets as admin signs them are read by elements."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import cast

import pytest

from admin_server.keys.ring import KeyRing
from admin_server.keys.rotation import KeyRotation
from admin_server.keys.signing_key import SigningKey, new_signing_key
from admin_server.keys.tickets import TicketIssuer
from mesh.errors import PermissionDenied
from mesh.identity.tickets import Ticket, TicketVerifier
from mesh.identity.tokens import KeySet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class OneKey:
    """The rotation, at a moment."""

    def __init__(self) -> None:
        self.key = new_signing_key(NOW)

    def signer(self) -> SigningKey:
        return self.key


def test_a_ticket_lives_for_a_quarter_of_an_hour() -> None:
    keys, known = OneKey(), KeySet()
    known.replace(KeyRing([keys.key]).jwks(NOW))
    issuer = TicketIssuer(cast(KeyRotation, keys), now=lambda: NOW)
    ticket = Ticket(
        file_id="019307a8-7c00-7000-8000-000000000001",
        sha256="0" * 64,
        size_bytes=0,
        source="se-01",
        target="se-02",
        account="storage-se-02",
    )
    raw, seconds = issuer.issue(ticket), NOW.timestamp()
    found = asyncio.run(TicketVerifier(known, lambda: seconds + 899).verify(raw))
    assert (found.account, found.expires_at) == ("storage-se-02", seconds + 900)
    with pytest.raises(PermissionDenied):
        asyncio.run(TicketVerifier(known, lambda: seconds + 900).verify(raw))

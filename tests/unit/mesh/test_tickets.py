"""What a ticket is good for, and who may use it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import jwt
import pytest

from mesh.errors import PermissionDenied, Unauthenticated, Unavailable
from mesh.identity.caller import Caller, Role
from mesh.identity.tickets import TICKET_TYPE, Ticket, TicketVerifier
from mesh.identity.tokens import KeySet, TokenVerifier, audience_of
from tests.support.token_issuer import Signer

NOW = 1_800_000_000
FILE = "019307a8-7c00-7000-8000-000000000001"
TICKET = Ticket(
    file_id=FILE,
    sha256="ab" * 32,
    size_bytes=5,
    crc32c=7,
    namespace="art",
    source="se-01",
    target="se-02",
    account="storage-se-02",
    expires_at=NOW + 900.0,
)
TARGET = Caller("storage-se-02", Role.SERVICE, for_this_element=True)


def signed(signer: Signer, *, typ: str = TICKET_TYPE, **changes: Any) -> str:
    """A good ticket; `changes` replace claims, None leaves one out."""
    claims = TICKET.claims(issued_at=NOW, expires_at=NOW + 900) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(
        claims, signer.key, algorithm="EdDSA", headers={"kid": signer.kid, "typ": typ}
    )


def keys_of(signer: Signer) -> KeySet:
    keys = KeySet()
    keys.replace(signer.jwks())
    return keys


def read(signer: Signer, raw: str, now: float = NOW) -> Ticket:
    return asyncio.run(TicketVerifier(keys_of(signer), lambda: now).verify(raw))


def test_what_admin_signed_is_read() -> None:
    signer = Signer()
    assert read(signer, signed(signer)) == TICKET
    assert read(signer, signed(signer, crc32c=None)) == replace(TICKET, crc32c=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "artstore"},
        {"aud": audience_of("se-01")},
        {"iss": "somebody"},
        {"typ": "at+jwt"},
        {"exp": NOW},
        {"exp": NOW + 4000},
        {"exp": float("nan")},
        {"exp": 10**400},
        {"iat": NOW + 3600, "exp": NOW + 4000},
        {"sub": None},
        {"sub": ""},
        {"sha256": "AB" * 32},
        {"sha256": None},
        {"size_bytes": -1},
        {"size_bytes": "5"},
        {"size_bytes": True},
        {"crc32c": 1 << 32},
        {"namespace": 7},
        {"source": "../se-01"},
        {"target": None},
        {"file_id": None},
    ],
    ids="-".join,
)
def test_what_does_not_say_all_that_it_must_is_refused(changes: dict[str, Any]) -> None:
    signer = Signer()
    with pytest.raises(PermissionDenied):
        read(signer, signed(signer, **changes))


@pytest.mark.parametrize("raw", ["", "x", "a.b.c", "x" * 9000])
def test_what_is_no_ticket_is_refused(raw: str) -> None:
    with pytest.raises(PermissionDenied):
        read(Signer(), raw)


def test_what_somebody_else_signed_is_refused() -> None:
    with pytest.raises(PermissionDenied):
        read(Signer("k1"), signed(Signer("k1")))
    with pytest.raises(PermissionDenied):
        read(Signer("k1"), signed(Signer("k2")))


def test_before_any_key_is_known_nothing_is_said() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(TicketVerifier(KeySet(), lambda: NOW).verify(signed(Signer())))


def test_a_ticket_is_no_token_and_a_token_no_ticket() -> None:
    signer = Signer()
    tokens = TokenVerifier(keys_of(signer), lambda: NOW, element_id="se-01")
    as_token = {"role": "SERVICE", "ns_read": ["*"], "ns_write": ["*"]}
    for raw in (signed(signer, **as_token), signed(signer, typ="at+jwt", **as_token)):
        with pytest.raises(Unauthenticated):
            asyncio.run(tokens.verify(raw))
    told = TICKET.claims(issued_at=NOW, expires_at=NOW + 900) | {"iat": NOW, "exp": NOW + 900}
    told.pop("aud")
    for header in ({}, {"typ": TICKET_TYPE}):
        with pytest.raises(PermissionDenied):
            read(signer, signer.token(header=header, **told))


def test_it_is_good_for_its_file_at_its_source_in_the_hands_of_its_target() -> None:
    TICKET.require(TARGET, source="se-01", file_id=FILE.upper())
    with pytest.raises(PermissionDenied):
        TICKET.require(TARGET, source="se-03", file_id=FILE)
    with pytest.raises(PermissionDenied):
        TICKET.require(TARGET, source="se-01", file_id=FILE.replace("7000", "7001"))


@pytest.mark.parametrize(
    "thief",
    [
        replace(TARGET, subject="storage-se-03"),
        replace(TARGET, subject="mallory", role=Role.USER),
        replace(TARGET, role=Role.ADMIN),
        # Its token for all servers, or for another element: what it sent elsewhere.
        replace(TARGET, for_this_element=False),
    ],
    ids=str,
)
def test_stolen_it_is_of_no_use_to_others(thief: Caller) -> None:
    with pytest.raises(PermissionDenied):
        TICKET.require(thief, source="se-01", file_id=FILE)

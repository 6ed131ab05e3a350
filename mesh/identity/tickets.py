"""Tickets: admin's word that one element may read one file from another.

A ticket is signed with the key that access tokens are signed with, and is none: type and audience
are its own, so neither is ever taken for the other. It stands for role, namespace and mode, for
that file at that source, and in the hands of the target's own account alone: whoever else sends
it, by whatever token, is refused (`Ticket.require`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from mesh.contract import ELEMENT_ID
from mesh.errors import PermissionDenied
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Caller, Role
from mesh.identity.tokens import (
    ALGORITHMS,
    CLOCK_SKEW_SECONDS,
    ISSUER,
    MAX_TIME,
    MAX_TOKEN_BYTES,
    KeySet,
)

TICKET_TYPE = "artstore-ticket+jwt"
TICKET_AUDIENCE = "artstore-ticket"
TICKET_SECONDS = 900.0
"""How long a ticket lives unless said otherwise."""
MAX_TICKET_SECONDS = 3600.0

_REQUIRED = ("exp", "iat", "aud", "iss", "sub")
_ELEMENT = re.compile(ELEMENT_ID)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What admin says of one file on its way.

    Attributes:
        file_id: as the contract writes ids.
        sha256: of its bytes, lower-case hex.
        size_bytes: how many they are.
        crc32c: of its bytes; None when it is not known.
        namespace: the file's; None on a ticket of an admin that does not tell it.
        source: the element that has it.
        target: the element that reads it.
        account: the target's own, which alone may use the ticket.
        expires_at: seconds since 1970; of a ticket that is to be signed it is not looked at.
    """

    file_id: str
    sha256: str
    size_bytes: int
    crc32c: int | None = None
    namespace: str | None = None
    source: str
    target: str
    account: str
    expires_at: float = 0.0

    def claims(self, *, issued_at: int, expires_at: int) -> dict[str, Any]:
        """What is signed, as the JWT's claims; its `typ` is TICKET_TYPE."""
        return {
            "iss": ISSUER,
            "aud": TICKET_AUDIENCE,
            "sub": self.account,
            "iat": issued_at,
            "exp": expires_at,
            "file_id": self.file_id,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "crc32c": self.crc32c,
            "namespace": self.namespace,
            "source": self.source,
            "target": self.target,
        }

    def require(self, caller: Caller, *, source: str, file_id: str) -> None:
        """Let `caller` read the file here by this ticket.

        Args:
            source: the element that is asked.
            file_id: what it is asked for.

        Raises:
            PermissionDenied: the ticket is of another element or file, or not the caller's.
        """
        if self.source != source:
            raise _refused(f"it is for storage element {self.source}")
        if self.file_id != canonical_file_id(file_id):
            raise _refused("it is for another file")
        own = caller.role is Role.SERVICE and caller.for_this_element
        if not own or caller.subject != self.account:
            raise _refused(
                f"only account {self.account!r} may use it, with its token for this element"
            )


def _system_clock() -> float:
    return time.time()


class TicketVerifier:
    """Reads tickets.

    Args:
        keys: admin's public keys.
        now: seconds since 1970 that expiry is judged by.
    """

    def __init__(self, keys: KeySet, now: Callable[[], float] = _system_clock) -> None:
        self._keys = keys
        self._now = now

    async def verify(self, raw: str) -> Ticket:
        """What a ticket says.

        Raises:
            PermissionDenied: it is none, has expired, or nobody we know has signed it.
            Unavailable: no signing key is known yet.
        """
        key = await self._key_for(raw)
        try:
            claims: dict[str, Any] = jwt.decode(
                raw,
                key.key,
                algorithms=[key.algorithm_name],
                audience=TICKET_AUDIENCE,
                issuer=ISSUER,
                # Times are judged below, by the clock that this server goes by.
                options={
                    "require": list(_REQUIRED),
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError as exc:
            raise _refused(f"it is not valid ({type(exc).__name__})") from exc
        self._check_times(claims)
        return _ticket(claims)

    async def _key_for(self, raw: str) -> jwt.PyJWK:
        if not raw or len(raw) > MAX_TOKEN_BYTES:
            raise _refused("it is no ticket")
        try:
            header = jwt.get_unverified_header(raw)
        except jwt.PyJWTError as exc:
            raise _refused("it is no ticket") from exc
        if header.get("alg") not in ALGORITHMS or header.get("typ") != TICKET_TYPE:
            raise _refused("it is no ticket")
        kid = header.get("kid")
        key = await self._keys.refresh_for(kid) if isinstance(kid, str) and kid else None
        if key is None or key.algorithm_name != header["alg"]:
            raise _refused("it is signed with an unknown key")
        return key

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        expires, issued = _time(claims["exp"]), _time(claims["iat"])
        now = self._now()
        if not expires > now:
            raise _refused(f"it has expired {now - expires:.0f} s ago by this server's clock")
        if issued > now + CLOCK_SKEW_SECONDS:
            raise _refused("it is not valid yet: this clock and admin's differ")
        if expires - issued > MAX_TICKET_SECONDS:
            raise _refused(f"it would live longer than {MAX_TICKET_SECONDS:.0f} s")


def _time(value: object) -> float:
    # NaN and infinity, which JSON as Python reads it has, are beyond either end.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_TIME:
        return float(value)
    raise _refused("its times are none")


def _ticket(claims: Mapping[str, Any]) -> Ticket:
    size, crc = claims.get("size_bytes"), claims.get("crc32c")
    namespace = claims.get("namespace")
    texts = {name: claims.get(name) for name in ("file_id", "sha256", "source", "target", "sub")}
    whole = (
        all(isinstance(text, str) and text for text in texts.values())
        and type(size) is int
        and size >= 0
        and (namespace is None or isinstance(namespace, str))
        and (crc is None or (type(crc) is int and 0 <= crc <= 0xFFFFFFFF))
    )
    if not whole or _SHA256.fullmatch(str(texts["sha256"])) is None:
        raise _refused("it does not say all that it must")
    if not all(_ELEMENT.fullmatch(str(texts[name])) for name in ("source", "target")):
        raise _refused("it names no storage elements")
    return Ticket(
        file_id=str(texts["file_id"]),
        sha256=str(texts["sha256"]),
        size_bytes=int(size or 0),
        crc32c=crc,
        namespace=namespace,
        source=str(texts["source"]),
        target=str(texts["target"]),
        account=str(texts["sub"]),
        expires_at=float(claims["exp"]),
    )


def _refused(why: str) -> PermissionDenied:
    return PermissionDenied(f"the transfer's ticket is not good here: {why}")

"""Makes tickets for transfers."""

from __future__ import annotations

from admin_server.clock import Clock
from admin_server.keys.rotation import KeyRotation
from mesh.identity.tickets import TICKET_SECONDS, TICKET_TYPE, Ticket


class TicketIssuer:
    """Signs tickets with the key of the moment.

    Args:
        keys: says which key that is.
        now: clock.
        lifetime_seconds: how long a ticket lives.
    """

    def __init__(
        self, keys: KeyRotation, *, now: Clock, lifetime_seconds: float = TICKET_SECONDS
    ) -> None:
        self._keys = keys
        self._now = now
        self._lifetime_seconds = lifetime_seconds

    def issue(self, ticket: Ticket) -> str:
        """The signed form of `ticket`, which lives from now on.

        Raises:
            Unavailable: there is no signing key yet.
        """
        key, now = self._keys.signer(), self._now().timestamp()
        claims = ticket.claims(
            issued_at=int(now), expires_at=max(int(now) + 1, int(now + self._lifetime_seconds))
        )
        return key.sign(claims, typ=TICKET_TYPE)

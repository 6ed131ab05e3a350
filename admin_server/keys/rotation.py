"""Keeps the ring in memory in step with the table, and turns it when a new key is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog

from admin_server.clock import Clock
from admin_server.keys.ring import KeyRing
from admin_server.keys.signing_key import SigningKey, new_signing_key
from admin_server.keys.table import KeyTable
from mesh.errors import Unavailable

_log = structlog.stdlib.get_logger(__name__)


class KeyRotation:
    """The ring as it was last read, and the one who changes it.

    Args:
        table: where keys are kept.
        rotation: how long a key signs.
        now: clock.
    """

    def __init__(self, table: KeyTable, *, rotation: timedelta, now: Clock) -> None:
        self._table = table
        self._rotation = rotation
        self._now = now
        self._ring = KeyRing()

    async def refresh(self) -> None:
        """Read the keys; make the next one if it is due, remove those that are outlived.

        Raises:
            Unavailable: the database is down; the keys known so far stay.
        """
        ring = await self._table.read()
        now = self._now()
        if ring.next_begins(now, self._rotation) is not None or ring.outlived(now):
            ring = await self._table.change(self._decide)
        self._ring = ring

    async def jwks(self) -> dict[str, Any]:
        """Read the keys again and answer those to publish, as `refresh`."""
        await self.refresh()
        return self._ring.jwks(self._now())

    def signer(self) -> SigningKey:
        """The key that signs now.

        Raises:
            Unavailable: none is known, the database was never reached.
        """
        key = self._ring.signer(self._now())
        if key is None:
            raise Unavailable("no signing key yet: admin's database is not answering")
        return key

    def _decide(self, ring: KeyRing) -> tuple[Sequence[SigningKey], Sequence[SigningKey]]:
        now = self._now()
        begins = ring.next_begins(now, self._rotation)
        added = [] if begins is None else [new_signing_key(begins)]
        removed = ring.outlived(now)
        for key in added:
            _log.info("signing key made", kid=key.kid, signs_from=key.signs_from)
        for key in removed:
            _log.info("signing key removed", kid=key.kid)
        return added, removed

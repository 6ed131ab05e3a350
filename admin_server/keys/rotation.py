"""Keeps the ring in memory in step with the table, and turns it when a new key is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from admin_server.clock import Clock
from admin_server.keys.ring import ANNOUNCED_BEFORE, KeyRing
from admin_server.keys.signing_key import SigningKey, new_signing_key
from admin_server.keys.table import KeyChange, KeyTable
from mesh.errors import Unavailable

_log = structlog.stdlib.get_logger(__name__)


class KeyRotation:
    """The ring as it was last read, and the one who changes it.

    Args:
        table: where keys are kept.
        rotation: how long a key signs.
        token_life: how long a token lives that one signs.
        now: clock.
    """

    def __init__(
        self, table: KeyTable, *, rotation: timedelta, token_life: timedelta, now: Clock
    ) -> None:
        self._table = table
        self._rotation = rotation
        self._token_life = token_life
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

    async def rotate(self) -> tuple[SigningKey, datetime]:
        """Take a new key, and wait until it signs; answers it and when the old ones end.

        Tokens of the old ones live out. Who rotates meanwhile gets the same key.

        Raises:
            Unavailable: the database is down.
        """
        ring = self._ring = await self._table.change(self._decide_at_once)
        fresh = ring.newest
        assert fresh.signs_from is not None
        await asyncio.sleep(max(0.0, (fresh.signs_from - self._now()).total_seconds()))
        return fresh, self._old_end(fresh.signs_from)

    def signer(self) -> SigningKey:
        """The key that signs now.

        Raises:
            Unavailable: none is known, the database was never reached.
        """
        key = self._ring.signer(self._now())
        if key is None:
            raise Unavailable("no signing key yet: admin's database is not answering")
        return key

    def _decide(self, ring: KeyRing) -> KeyChange:
        now = self._now()
        begins = ring.next_begins(now, self._rotation)
        added = [] if begins is None else [new_signing_key(begins)]
        removed = ring.outlived(now)
        for key in added:
            _log.info("signing key made", kid=key.kid, signs_from=key.signs_from)
        for key in removed:
            _log.info("signing key removed", kid=key.kid)
        return KeyChange(added=added, removed=removed)

    def _decide_at_once(self, ring: KeyRing) -> KeyChange:
        now = self._now()
        begins = now + ANNOUNCED_BEFORE
        waiting = ring.waiting(now)
        if any(key.signs_from <= begins for key in waiting if key.signs_from is not None):
            return KeyChange()
        # A key that waits for its time is as old as the others to whoever has read the table.
        key, until = new_signing_key(begins), self._old_end(begins)
        _log.info("signing key made", kid=key.kid, signs_from=begins, old_keys_end=until)
        return KeyChange(
            added=[key],
            removed=[*waiting, *ring.outlived(now)],
            ending=[
                replace(old, verifies_until=until)
                for old in ring.begun(now)
                if old.verifies_until is None or old.verifies_until > until
            ],
        )

    def _old_end(self, successor_begins: datetime) -> datetime:
        return successor_begins + self._token_life + ANNOUNCED_BEFORE

"""Which key signs now, which are published, and when the next one is due."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from admin_server.keys.signing_key import SigningKey

# A new key is published this long before it signs: servers ask for keys every 30 s.
PUBLISHED_BEFORE = timedelta(minutes=5)
# One that is made by hand before its time is published this long before it signs: each admin reads
# the keys every 2 s, and any of them may be asked for a key that a server does not know.
ANNOUNCED_BEFORE = timedelta(seconds=3)
# A key is published this long after its last signature: the longest life a token can have.
PUBLISHED_AFTER = timedelta(days=1, minutes=5)


class KeyRing:
    """All keys there are; answers questions about a moment and never changes."""

    def __init__(self, keys: Iterable[SigningKey] = ()) -> None:
        self._keys = tuple(sorted(keys, key=lambda key: key.kid))
        signers = [(key.signs_from, key) for key in self._keys if key.signs_from is not None]
        self._signers = sorted(signers, key=lambda entry: (entry[0], entry[1].kid))

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def newest(self) -> SigningKey:
        """The key that begins to sign last; there must be one."""
        return self._signers[-1][1]

    def signer(self, now: datetime) -> SigningKey | None:
        """The key that signs: the one that began last."""
        begun = self.begun(now)
        return begun[-1] if begun else None

    def outlived(self, now: datetime) -> list[SigningKey]:
        """Keys whose last token has expired by now."""
        successors = [signs_from for signs_from, _ in self._signers[1:]]
        return [
            key
            for (_, key), ended in zip(self._signers, successors, strict=False)
            if (key.verifies_until or ended + PUBLISHED_AFTER) <= now
        ]

    def waiting(self, now: datetime) -> list[SigningKey]:
        """Keys that will sign and do not yet, the next one first."""
        return [key for signs_from, key in self._signers if signs_from > now]

    def begun(self, now: datetime) -> list[SigningKey]:
        """Keys that sign or did."""
        return [key for signs_from, key in self._signers if signs_from <= now]

    def jwks(self, now: datetime) -> dict[str, Any]:
        """The JSON Web Key Set to publish: all that sign, will sign or have living tokens."""
        gone = {key.kid for key in self.outlived(now)}
        return {"keys": [key.jwk() for key in self._keys if key.kid not in gone]}

    def next_begins(self, now: datetime, rotation: timedelta) -> datetime | None:
        """When a key that has to be made now is to begin to sign; None if none is due."""
        if not self._signers:
            return now
        newest, _ = self._signers[-1]
        if newest + rotation - PUBLISHED_BEFORE > now:
            return None
        # Published first, however late it is made; the old key signs until then.
        return max(newest + rotation, now + PUBLISHED_BEFORE)

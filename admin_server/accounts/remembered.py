"""Which secret a hash is of, once that was found out."""

from __future__ import annotations

import hashlib
import hmac
import secrets

MAX_REMEMBERED = 10_000


class RememberedSecrets:
    """Answers in microseconds what Argon2 takes its time for, for yes and for no.

    One secret alone has a hash, so that whoever brings another one is wrong. What is kept is a
    keyed digest, of a key that no one else has, and as long as the process runs: the hash is read
    from the account's row at each login, so that a rotation holds at once.

    Args:
        most: beyond so many those go that were not used for longest.
    """

    def __init__(self, *, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._key = secrets.token_bytes(32)
        self._digests: dict[str, bytes] = {}

    def learn(self, secret_hash: str, secret: str) -> None:
        """That is the hash of this secret."""
        self._digests.pop(secret_hash, None)
        while len(self._digests) >= self._most:
            del self._digests[next(iter(self._digests))]
        self._digests[secret_hash] = self._digest(secret_hash, secret)

    def matches(self, secret_hash: str, secret: str) -> bool | None:
        """Whether that is the hash of this secret; None: it is to be found out."""
        known = self._digests.get(secret_hash)
        if known is None:
            return None
        if not hmac.compare_digest(known, self._digest(secret_hash, secret)):
            return False
        # Those that are used stay.
        self._digests[secret_hash] = self._digests.pop(secret_hash)
        return True

    def _digest(self, secret_hash: str, secret: str) -> bytes:
        text = "\0".join((secret_hash, secret)).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)

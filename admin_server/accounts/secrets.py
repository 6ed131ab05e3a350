"""Secrets of accounts: made at random, kept as Argon2id hashes, checked in threads."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from mesh.errors import Unavailable

T = TypeVar("T")

SECRET_BYTES = 32
MAX_SECRET_CHARACTERS = 256
# 19 MiB and two passes, the least that OWASP advises: about 25 ms of one core.
TIME_COST = 2
MEMORY_KIB = 19 * 1024
CONCURRENCY = 2
MAX_WAITING = 256


def new_secret() -> str:
    """A random secret of 256 bits, 43 characters, safe in URLs and shells."""
    return secrets.token_urlsafe(SECRET_BYTES)


class SecretHasher:
    """Hashes and checks, at most two at a time; close it when done.

    Args:
        max_waiting: beyond so many that wait, calls are refused at once.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1
        )
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="argon2")
        self._max_waiting = max_waiting
        self._waiting = 0
        # Of a secret that nobody knows: what is compared when there is nothing to compare.
        self._decoy = self._argon2.hash(new_secret())

    async def hash(self, secret: str) -> str:
        """The Argon2id hash of a secret, salted.

        Raises:
            Unavailable: too many wait already.
        """
        return await self._in_thread(lambda: self._argon2.hash(secret))

    async def matches(self, secret_hash: str | None, secret: str) -> bool:
        """Whether that is the hash of this secret; False for None, after the same time.

        Raises:
            Unavailable: too many wait already.
        """
        matched = await self._in_thread(lambda: self._verify(secret_hash or self._decoy, secret))
        return matched and secret_hash is not None

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, secret_hash: str, secret: str) -> bool:
        try:
            return self._argon2.verify(secret_hash, secret)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._max_waiting + CONCURRENCY:
            raise Unavailable("too many logins at the same time", reason="LOGINS_BUSY")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

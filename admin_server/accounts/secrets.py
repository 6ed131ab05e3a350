"""Secrets of accounts: made at random, kept as Argon2id hashes, checked in threads."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import argon2

from admin_server.accounts.remembered import RememberedSecrets
from admin_server.accounts.turns import too_many_logins

T = TypeVar("T")

SECRET_BYTES = 32
MAX_SECRET_CHARACTERS = 256
# 19 MiB and two passes, the least that OWASP advises: about 25 ms of one core.
TIME_COST = 2
MEMORY_KIB = 19 * 1024
CONCURRENCY = 2
MAX_WAITING = 512
# Of the threads: whoever has a token already does not wait for those who have none yet.
NICENESS = 5
# The time of a comparison is the mean of about as many.
_SMOOTHED_OVER = 8


def new_secret() -> str:
    """A random secret of 256 bits, 43 characters, safe in URLs and shells."""
    return secrets.token_urlsafe(SECRET_BYTES)


class SecretHasher:
    """Hashes and checks, at most two at a time; close it when done.

    Argon2's memory is 19 MiB for each thread, however many wait: they hold their secret alone.

    Args:
        max_waiting: beyond so many that wait, calls are refused at once.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1
        )
        self._threads = ThreadPoolExecutor(
            CONCURRENCY, thread_name_prefix="argon2", initializer=_give_way
        )
        self._max_waiting = max_waiting
        self._waiting = 0
        self._seconds = 0.0
        self.remembered = RememberedSecrets()

    async def hash(self, secret: str) -> str:
        """The Argon2id hash of a secret, salted.

        Raises:
            ResourceExhausted: too many wait already.
        """
        secret_hash = await self._in_thread(lambda: self._argon2.hash(secret))
        self.remembered.learn(secret_hash, secret)
        return secret_hash

    async def matches(self, secret_hash: str, secret: str) -> bool:
        """Whether that is the hash of this secret.

        Raises:
            ResourceExhausted: too many wait already.
        """
        matched = self.remembered.matches(secret_hash, secret)
        if matched is None:
            matched = await self._in_thread(lambda: self._verify(secret_hash, secret))
            if matched:
                self.remembered.learn(secret_hash, secret)
        return matched

    async def pretend(self) -> None:
        """Take the time of a comparison, and nothing else."""
        await asyncio.sleep(self._seconds)

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
            raise too_many_logins()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._timed, work
            )
        finally:
            self._waiting -= 1

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            took = time.perf_counter() - began
            self._seconds += (took - self._seconds) / (_SMOOTHED_OVER if self._seconds else 1)


def _give_way() -> None:
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

"""The one writing process of an element (correctness 1)."""

from __future__ import annotations

from typing import Protocol

from storage_server.store.port import Store


class WriterLock(Protocol):
    """How a process becomes the writer, and how it notices that it no longer is."""

    async def acquire(self, store: Store) -> bool:
        """Become the writer; False when another process is, or may still be.

        Raises:
            Unavailable: what decides it does not answer.
        """

    async def check(self) -> None:
        """Just before a sidecar is written on a store without conditional PUT.

        Raises:
            Unavailable: this process is not, or not certainly, the writer any more.
        """

    @property
    def lost(self) -> bool:
        """It was held, and is not any more."""

    async def release(self) -> None:
        """Let others have it. Idempotent."""


class FolderWriterLock:
    """On local files the store's flock decides; closing the store releases it."""

    lost = False

    async def acquire(self, store: Store) -> bool:
        """Take the flock."""
        return await store.acquire_writer()

    async def check(self) -> None:
        """The flock lives as long as the process."""

    async def release(self) -> None:
        """Done by the store."""

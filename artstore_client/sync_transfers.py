"""Transfers for programs without asyncio: each call waits for its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from artstore_client.loop_thread import LoopThread
from artstore_client.transfers import Transfer, TransferCalls, Transferring


class SyncTransferCalls:
    """`TransferCalls` for scripts."""

    def __init__(self, calls: TransferCalls, loop: LoopThread) -> None:
        self._calls = calls
        self._loop = loop

    def finalize(self, file_id: str, **options: Any) -> Transfer:
        """`TransferCalls.finalize`."""
        return self._loop.run(self._calls.finalize(file_id, **options))

    def finalization(self, file_id: str) -> Transfer:
        """`TransferCalls.finalization`."""
        return self._loop.run(self._calls.finalization(file_id))

    def move(self, file_id: str, **options: Any) -> Transfer:
        """`TransferCalls.move`."""
        return self._loop.run(self._calls.move(file_id, **options))

    def show(self, transfer_id: str) -> Transfer:
        """`TransferCalls.show`."""
        return self._loop.run(self._calls.show(transfer_id))

    def list(self, **wanted: Any) -> Iterator[Transfer]:
        """`TransferCalls.list`."""
        return self._loop.iterate(self._calls.list(**wanted))

    def cancel(self, transfer_id: str) -> Transfer:
        """`TransferCalls.cancel`."""
        return self._loop.run(self._calls.cancel(transfer_id))

    def retry(self, transfer_id: str) -> Transfer:
        """`TransferCalls.retry`."""
        return self._loop.run(self._calls.retry(transfer_id))

    def wait(self, transfer: Transfer, **options: Any) -> Transfer:
        """`TransferCalls.wait`."""
        return self._loop.run(self._calls.wait(transfer, **options))


class SyncTransferring:
    """`Transferring` for scripts."""

    def __init__(self, client: Transferring, loop: LoopThread) -> None:
        self.transfers = SyncTransferCalls(client.transfers, loop)
        self._transferring = client, loop

    def finalize(self, file_id: str, **options: Any) -> Transfer:
        """`Client.finalize`."""
        client, loop = self._transferring
        return loop.run(client.finalize(file_id, **options))

    def move(self, file_id: str, **options: Any) -> Transfer:
        """`Client.move`."""
        client, loop = self._transferring
        return loop.run(client.move(file_id, **options))

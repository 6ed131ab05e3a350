"""What the shell offers when Tab is pressed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from artstore.v1 import lifecycle_pb2
from artstore_client import Client, errors

# A shell that waits for a mesh that is not there helps nobody.
_SECONDS = 3.0
_TO_LOOK_AFTER = (
    lifecycle_pb2.TRANSFER_STATE_QUEUED,
    lifecycle_pb2.TRANSFER_STATE_COPYING,
    lifecycle_pb2.TRANSFER_STATE_SWITCHING,
    lifecycle_pb2.TRANSFER_STATE_FAILED,
)


def complete_element(incomplete: str) -> list[str]:
    """Ids of the mesh's elements that begin so; none when the mesh can't be asked."""
    return _that_begin(incomplete, _element_ids)


def complete_account(incomplete: str) -> list[str]:
    """Names of accounts that begin so; none for whoever may not see them."""
    return _that_begin(incomplete, _account_names)


def complete_transfer(incomplete: str) -> list[str]:
    """Ids of transfers that have not ended, or failed; none for whoever may not list them."""
    return _that_begin(incomplete, _transfer_ids)


def _that_begin(incomplete: str, known: Callable[[], Coroutine[Any, Any, list[str]]]) -> list[str]:
    try:
        names = asyncio.run(known())
    except (errors.ArtStoreError, OSError, TimeoutError):
        return []
    return [name for name in names if name.startswith(incomplete)]


async def _account_names() -> list[str]:
    async with asyncio.timeout(_SECONDS), Client.connect() as client:
        return [account.client_id async for account in client.accounts.list()]


async def _element_ids() -> list[str]:
    async with asyncio.timeout(_SECONDS), Client.connect() as client:
        return await client.element_ids()


async def _transfer_ids() -> list[str]:
    async with asyncio.timeout(_SECONDS), Client.connect() as client:
        found = client.transfers.list(states=_TO_LOOK_AFTER)
        return [one.transfer_id async for one in found]

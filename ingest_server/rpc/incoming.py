"""A client's stream as the uploads see it."""

from __future__ import annotations

from typing import Any

import grpc

from mesh.concurrency.hands import Hand
from mesh.contract import ACCEPTED


class ClientStream:
    """The request stream of a call whose messages are left serialized.

    Args:
        hand: what is read comes into it; closed by whoever gave it.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], hand: Hand) -> None:
        self._context = context
        self._hand = hand

    async def read(self) -> bytes | None:
        """The next message; None at the end, which a client that went away looks like."""
        await self._hand.ask()
        message = await self._context.read()
        self._hand.hold()
        return None if message is grpc.aio.EOF else message

    async def accept(self) -> None:
        """Send initial metadata."""
        await self._context.send_initial_metadata(ACCEPTED)

"""Taking away what Redis says of a request id: the id may be a user's words."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from mesh.elements.request_pins import pin_key
from mesh.redis import translated


@dataclass(frozen=True, slots=True)
class RequestPins:
    """The pins that ingest makes, see `mesh.elements.request_pins`."""

    redis: Redis

    async def forget(self, account: str, request_id: str) -> None:
        """Take the pin of an account's request away; none is fine.

        Raises:
            Unavailable: Redis does not answer.
        """
        with translated("request ids"):
            await self.redis.delete(pin_key(account, request_id))

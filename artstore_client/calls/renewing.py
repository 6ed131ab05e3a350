"""A channel whose connections follow the certificates: calls always go by the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc
import grpc.aio

# Streams end with their token, long before.
RETIRED_SECONDS = 3600.0


class RenewingChannel:
    """Opens a channel with the present credentials, and another when these have changed.

    Calls under way end on the channel that they began on. Stubs are made of it as of any channel.

    Args:
        credentials: those of now; another object when they have changed.
        open_channel: opens a channel with credentials.
    """

    def __init__(
        self,
        credentials: Callable[[], grpc.ChannelCredentials],
        open_channel: Callable[[grpc.ChannelCredentials], grpc.aio.Channel],
    ) -> None:
        self._credentials = credentials
        self._open_channel = open_channel
        self._opened_with = credentials()
        self._channel = open_channel(self._opened_with)
        self._retiring: set[asyncio.Task[None]] = set()
        self._generation = 0

    def as_channel(self) -> grpc.aio.Channel:
        """Itself, for stubs, which use no more of a channel than is here."""
        return cast("grpc.aio.Channel", self)

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """A method of a service, as of any channel."""
        return self._by_newest("unary_unary", method, options)

    def unary_stream(self, *method: Any, **options: Any) -> Any:
        """As `unary_unary`."""
        return self._by_newest("unary_stream", method, options)

    def stream_unary(self, *method: Any, **options: Any) -> Any:
        """As `unary_unary`."""
        return self._by_newest("stream_unary", method, options)

    def stream_stream(self, *method: Any, **options: Any) -> Any:
        """As `unary_unary`."""
        return self._by_newest("stream_stream", method, options)

    async def close(self) -> None:
        """End all calls and connections, also those of before."""
        retiring = list(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(self._channel.close(), *retiring, return_exceptions=True)

    def _by_newest(self, shape: str, method: tuple[Any, ...], options: dict[str, Any]) -> Any:
        made: dict[int, Any] = {}

        def call(*arguments: Any, **named: Any) -> Any:
            self._renew()
            if self._generation not in made:
                made.clear()
                made[self._generation] = getattr(self._channel, shape)(*method, **options)
            return made[self._generation](*arguments, **named)

        return call

    def _renew(self) -> None:
        present = self._credentials()
        if present is self._opened_with:
            return
        task = asyncio.get_running_loop().create_task(_retire(self._channel))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        self._opened_with, self._channel = present, self._open_channel(present)
        self._generation += 1


async def _retire(channel: grpc.aio.Channel) -> None:
    try:
        await channel.close(RETIRED_SECONDS)
    except asyncio.CancelledError:
        await channel.close()
        raise

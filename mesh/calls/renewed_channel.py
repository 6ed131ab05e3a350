"""A channel whose certificates follow their files, though gRPC's own keep what they began with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc
import structlog

from mesh.calls import tls
from mesh.calls.tls import CertificateFiles, Held
from mesh.concurrency.watched import cancel_and_wait, tell

_log = structlog.stdlib.get_logger(__name__)

Make = Callable[[grpc.aio.Channel], Any]


class RenewedChannel(grpc.aio.Channel):
    """Calls go through a channel made of the files as they are; one of earlier files stays open
    until the last call that began on it has ended.

    Args:
        files: looked at every 10 s.
        open_with: makes a channel.

    Attributes:
        current: what new calls get.
    """

    def __init__(
        self, files: CertificateFiles, open_with: Callable[[Held], grpc.aio.Channel]
    ) -> None:
        self._files = files
        self._open_with = open_with
        self._held = files.held
        self.current = open_with(self._held)
        self._running: dict[grpc.aio.Channel, int] = {self.current: 0}
        self._closing: set[asyncio.Task[None]] = set()
        self._watching = asyncio.create_task(self._watch(), name="certificates of a channel")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(tls.CHECK_SECONDS)
            await asyncio.to_thread(self._files.refresh)
            if self._files.held is not self._held:
                try:
                    self._renew()
                except Exception as exc:
                    tell(_log, "new certificates not used for calls", exc)

    def _renew(self) -> None:
        before = self.current
        self._held = self._files.held
        self.current = self._open_with(self._held)
        self._running[self.current] = 0
        _log.info("new certificates for calls", calls_on_the_old=self._running[before])
        self._close_if_left(before)

    def begin(self, method: _Method, *args: Any, **kwargs: Any) -> Any:
        """Start a call on the channel of now."""
        channel = self.current
        call = method.on(channel)(*args, **kwargs)
        self._running[channel] += 1

        def ended(_: object) -> None:
            if channel in self._running:
                self._running[channel] -= 1
                self._close_if_left(channel)

        call.add_done_callback(ended)
        return call

    def _close_if_left(self, channel: grpc.aio.Channel) -> None:
        if channel is self.current or self._running[channel]:
            return
        del self._running[channel]
        closing = asyncio.create_task(channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self, grace: float | None = None) -> None:
        """End the calls and close; those that are open get `grace` seconds."""
        await cancel_and_wait(self._watching)
        channels = list(self._running)
        self._running.clear()
        await asyncio.gather(*(channel.close(grace) for channel in channels), *self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the channel that new calls get."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the channel that new calls get."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the channel that new calls get."""
        await self.current.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As that of a channel; so are the three others."""
        return _Method(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Method(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _Method(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Method(self, lambda channel: channel.stream_stream(*args, **kwargs))


class _Method:
    """One method of a stub, whichever channel its calls go through."""

    def __init__(self, channel: RenewedChannel, make: Make) -> None:
        self._channel = channel
        self._make = make
        self._made: tuple[grpc.aio.Channel, Any] | None = None

    def on(self, channel: grpc.aio.Channel) -> Any:
        if self._made is None or self._made[0] is not channel:
            self._made = channel, self._make(channel)
        return self._made[1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._channel.begin(self, *args, **kwargs)

"""The event loop of servers: it takes all wake-ups of gRPC at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Ts = TypeVarTuple("Ts")

# Whose method `grpc.aio` has called when its socket may be read.
_OWNER = "PollerCompletionQueue"
# More than a socket pair holds of single bytes.
_MANY = 4096


class ServerLoop(asyncio.SelectorEventLoop):
    """A loop in which gRPC's own thread never waits for the loop.

    That thread writes a byte into a socket for each event, and `grpc.aio` reads one byte in each
    round of the loop, though it then takes all events there are. With several events a round the
    socket fills up, the thread stands still, and from then on the loop gets one event a round: new
    calls wait for seconds behind what hundreds of streams write, whose rounds are short.
    """

    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[Ts]], Any], *args: *Ts
    ) -> None:
        """See `asyncio.loop.add_reader`."""
        inner = callback.func if isinstance(callback, partial) else callback
        owner = type(getattr(inner, "__self__", None)).__name__
        if owner == _OWNER and isinstance(fd, socket.socket):
            super().add_reader(fd, _take_all_but_one, fd, partial(callback, *args))
        else:
            super().add_reader(fd, callback, *args)


def _take_all_but_one(wake_ups: socket.socket, handle: Callable[[], Any]) -> None:
    """Have events handled. Each was there before its wake-up, and `handle` reads one of these."""
    waiting = len(wake_ups.recv(_MANY, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    if waiting > 1:
        wake_ups.recv(waiting - 1)
    handle()

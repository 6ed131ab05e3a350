"""A DNS server of one name, whose addresses a test may change."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

_A, _IN, _ANSWER_FOUND = 1, 1, 0x8180


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an A record with `addresses`."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.questions = 0
        self._transport: Any = None

    @property
    def port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(b"\0", 12) + 5
        question = data[12:end]
        (kind,) = struct.unpack(">H", question[-4:-2])
        found = self.addresses if kind == _A else []
        self.questions += kind == _A
        head = data[:2] + struct.pack(">HHHHH", _ANSWER_FOUND, 1, len(found), 0, 0)
        answers = b"".join(
            struct.pack(">HHHIH", 0xC00C, _A, _IN, 600, 4) + socket.inet_aton(address)
            for address in found
        )
        self._transport.sendto(head + question + answers, addr)

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def name_server(addresses: list[str]) -> AsyncIterator[NameServer]:
    _, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(addresses), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        server.close()

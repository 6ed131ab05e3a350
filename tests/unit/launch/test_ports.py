"""Ports of a mesh that somebody else has taken."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from launch.ports import leave_taken_port


@dataclass
class Server:
    port: int


def test_a_server_leaves_a_port_that_was_taken_since_and_keeps_a_free_one() -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        server = Server(taken)
        leave_taken_port(server)
        assert server.port != taken
        free = server.port
        leave_taken_port(server)
        assert server.port == free

"""The ports of a mesh, before it starts: are they free, and if not, who has them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Protocol

import psutil

from launch import processes


class PortTaken(RuntimeError):
    """Somebody listens where a server will; the message says who, and the way out."""


class ListeningServer(Protocol):
    """A server that will listen on a port of 127.0.0.1."""

    port: int


def leave_taken_port(server: ListeningServer) -> None:
    """Give a server whose address nobody knows yet another port if its own was taken since."""
    while _refusal(server.port) is not None:
        server.port = processes.free_port()


def require_free_ports(ports: Mapping[int, str]) -> None:
    """Check that nobody listens where the servers will.

    Raises:
        PortTaken: naming the port, what it is for, who has it, and the way out.
    """
    for port, name in ports.items():
        taken = _refusal(port)
        if taken is not None:
            raise PortTaken(
                f"port {port} ({name}) is in use ({taken.strerror}{_by(port)}): stop what"
                " listens there, or set ARTSTORE_PORT_OFFSET to move all ports of this mesh"
            )


def _refusal(port: int) -> OSError | None:
    """Why nobody can listen on a port of 127.0.0.1; None when it is free."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as taken:
            return taken
    return None


def _by(port: int) -> str:
    """Who listens on a port, as far as the kernel tells us: only root sees others' processes."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f", by {psutil.Process(connection.pid).name()}, pid {connection.pid}"
    except (psutil.Error, OSError):
        pass
    return ""

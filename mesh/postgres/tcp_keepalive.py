"""Ending connections whose other end has gone without a word: its host, or the network to it.

By default the kernel asks such a peer after two hours. So long PostgreSQL would keep what the lost
session held: the writer's lock of an element, rows, the lock under which signing keys are made.
"""

from __future__ import annotations

import socket

# The first probe after so long without a word, then the others; the last one that stays without
# an answer ends the connection. A process that is merely frozen has a kernel that answers.
IDLE_SECONDS = 5
INTERVAL_SECONDS = 2
PROBES = 5

POSTGRES_SETTINGS = {
    "tcp_keepalives_idle": str(IDLE_SECONDS),
    "tcp_keepalives_interval": str(INTERVAL_SECONDS),
    "tcp_keepalives_count": str(PROBES),
    # Also while it waits for what it has sent.
    "tcp_user_timeout": str((IDLE_SECONDS + INTERVAL_SECONDS * PROBES) * 1000),
}
"""What a session tells PostgreSQL about its own end; heeded on TCP only."""


def keep_alive(connected: socket.socket) -> None:
    """Do the same on our end. Sockets of another kind than TCP stay as they are."""
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPINTVL", INTERVAL_SECONDS),
        ("TCP_KEEPCNT", PROBES),
    ):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

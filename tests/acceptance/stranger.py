"""What another account of this machine gets at: run as `python -IS stranger.py UID`.

Reads what to try as JSON from standard input, and prints what could be done. It imports all it
needs before it becomes that account, which need not be able to read where Python lies.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

_SECONDS = 5.0


def done(act: Callable[[str], object], paths: Iterable[str]) -> list[str]:
    """Those of `paths` with which the system let us do it."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            act(path)
            found.append(path)
    return found


def read(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def make(folder: str) -> None:
    Path(folder, "planted").mkdir()


def knock(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)


def asked(port: int, said: bytes) -> str:
    """The first bytes that a port of this machine answers."""
    with socket.socket() as link:
        link.settimeout(_SECONDS)
        link.connect(("127.0.0.1", port))
        link.sendall(said)
        return link.recv(64).decode(errors="replace")


def startup(user: str) -> bytes:
    """What a client of PostgreSQL says first."""
    told = struct.pack("!i", 196608) + f"user\0{user}\0database\0artstore\0\0".encode()
    return struct.pack("!i", len(told) + 4) + told


def main() -> None:
    given = json.load(sys.stdin)
    uid = int(sys.argv[1])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    print(
        json.dumps(
            {
                "read": done(read, given["paths"]),
                "listed": done(os.listdir, given["folders"]),
                "written": done(write, given["paths"]),
                "made": done(make, given["folders"]),
                "removed": done(os.unlink, given["paths"]),
                "reached": done(knock, given["sockets"]),
                "postgres": [asked(given["postgres"], startup(user)) for user in given["users"]],
                "valkey": [
                    asked(given["valkey"], said) for said in (b"PING\r\n", b"CONFIG GET *\r\n")
                ],
            }
        )
    )


if __name__ == "__main__":
    main()

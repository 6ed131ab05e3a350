"""Changes that commands made lately, so that a search after `put` finds what was put.

One line for each, `seconds token`, in `artstore/changes/<mesh id>` of the user's cache folder. A
line is appended in one write, so commands may run side by side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from artstore_client.contract import MAX_CHANGE_TOKENS
from artstore_client.local.own_folder import OwnFolder
from artstore_client.uploads.state_file import default_folder

# The index is seconds behind at most; what is older is found, or will not be so soon.
KEPT_SECONDS = 600
MAX_BYTES = 64 * 1024


def _folder() -> Path:
    return default_folder().parent / "changes"


def remember(mesh_id: str, tokens: Sequence[str], clock: Callable[[], float] = time.time) -> None:
    """Keep tokens for later commands; one that can't be kept is only not waited for."""
    if not tokens:
        return
    lines = "".join(f"{clock():.0f} {token}\n" for token in tokens).encode()
    with suppress(OSError), OwnFolder(_folder()) as folder:
        descriptor = folder.open(mesh_id, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            if os.fstat(descriptor).st_size > MAX_BYTES:
                os.ftruncate(descriptor, 0)
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)


def recall(mesh_id: str, clock: Callable[[], float] = time.time) -> list[str]:
    """Tokens of the last ten minutes, at most as many as a search takes."""
    try:
        lines = _read(mesh_id).decode(errors="replace").splitlines()
    except OSError:
        return []
    since = clock() - KEPT_SECONDS
    tokens = []
    for line in lines:
        seconds, _, token = line.partition(" ")
        if seconds.isdecimal() and int(seconds) >= since and token:
            tokens.append(token)
    return tokens[-MAX_CHANGE_TOKENS:]


def _read(mesh_id: str) -> bytes:
    with OwnFolder(_folder()) as folder:
        descriptor = folder.open(mesh_id, os.O_RDONLY)
        try:
            return os.read(descriptor, 2 * MAX_BYTES)
        finally:
            os.close(descriptor)

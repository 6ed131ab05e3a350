"""`python -m storage_server.cache.reading_process FD ROOT`: reads sidecars for a rebuild.

A process of its own beside a server that a rebuild must not hold up: it reads files of a local
store and encodes rows of them, which is most of what a rebuild computes, and does nothing else. It
is started anew, never forked from the server, changes nothing, and ends when the server lets go of
the socket, however that ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from mesh.errors import ArtStoreError
from storage_server.cache.candidates import Answer, Request, sorted_out
from storage_server.store.local_files import LocalFiles

# Whoever waits for an answer of the server comes first.
_NICENESS = 5
READY = b"ready"


def main(fd: int, root: Path) -> None:
    """Answer requests until there are no more."""
    # Ctrl-C is for the server, which then lets go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    # Nothing here refers to itself.
    gc.disable()
    files = LocalFiles(root)
    # The server has seen it: a root without it is not the element's any more.
    files.folders.element_seen = True
    # A server that has gone wants no answer.
    with Connection(fd) as connection, suppress(EOFError, ConnectionError):
        connection.send_bytes(READY)
        while True:
            request: Request = pickle.loads(connection.recv_bytes())
            try:
                answer = _answer(files, request)
            except (ArtStoreError, OSError) as exc:
                # The server meets it as well, and knows what to say.
                sys.exit(repr(exc))
            connection.send_bytes(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


def _answer(files: LocalFiles, request: Request) -> Answer:
    contents = files.read_sidecars(request.paths)
    valid, invalid = sorted_out(request.paths, contents, request.without_blob, request.seen)
    return [tuple(one) for one in valid], invalid


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

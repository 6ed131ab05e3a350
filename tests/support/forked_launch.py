"""`python -m launch` in a process that was forked with all imports done, as `forking` starts it.

The process that its servers are forked from is forked here too, before there is any event loop: it
would import for one and a half seconds what is there already.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import socket
import sys
from contextlib import suppress

from launch import fork_server
from launch.__main__ import main
from launch.forked import ForkServer

_ANSWER_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1


class _Child:
    """What `ForkServer` needs of a `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> None:
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _forked() -> tuple[socket.socket, _Child]:
    """One end of the line to the process that servers are forked from, and that process."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    launcher = os.getpid()
    if (pid := os.fork()) == 0:
        ours.close()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(1)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        # Returns in a server only.
        module = fork_server.main([str(its.detach())])
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    its.close()
    ours.settimeout(_ANSWER_SECONDS)
    return ours, _Child(pid)


def _open(self: ForkServer) -> None:
    self._requests, self._process = _requests, _child  # type: ignore[assignment]


if __name__ == "__main__":
    _requests, _child = _forked()
    ForkServer.open = _open  # type: ignore[method-assign]
    sys.exit(main())

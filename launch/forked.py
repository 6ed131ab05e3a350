"""Servers that the launcher has forked from a process which has imported everything already."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from launch import processes
from launch.fork_server import MAX_REQUEST_BYTES, NOBODY

# The first request waits for all imports, on a machine that does much else.
_ANSWER_SECONDS = 30.0
_PR_SET_CHILD_SUBREAPER = 36
# Room for the environments of servers in /proc, which are longer than the launcher's.
_ROOM = {"ARTSTORE_FORK_SERVER": "." * 4096}


class ForkServerGone(RuntimeError):
    """The fork server does not answer: start the program in the ordinary way."""


class ForkedProcess:
    """A child of this process, as `asyncio.subprocess.Process` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._watched = os.pidfd_open(pid)
        self._loop.add_reader(self._watched, self._reap)

    async def wait(self) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended.

        Raises:
            ProcessLookupError: it has.
        """
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def _reap(self) -> None:
        self._loop.remove_reader(self._watched)
        os.close(self._watched)
        self.returncode = -int(signal.SIGKILL)
        # Whoever waits for a whole family may have been told before us.
        with contextlib.suppress(ChildProcessError):
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended.set()


class ForkServer:
    """The one of this run. `open` before use, `close` at the end; Linux only.

    Args:
        modules: what it imports; one that cannot be imported is passed over.
        environment: the whole of it, for what is decided as Python starts.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._modules = tuple(modules)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._one_at_a_time = asyncio.Lock()

    def open(self) -> None:
        """Start it; does not wait until it has imported anything."""
        if not _may_watch():
            return
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWER_SECONDS)
        with its:
            self._process = subprocess.Popen(
                processes.wrapped(
                    [sys.executable, "-m", "launch.fork_server", str(its.fileno()), *self._modules],
                    death_signal=signal.SIGKILL,
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**self._environment, **_ROOM},
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self._requests = ours

    async def start(self, module: str, environment: Mapping[str, str], log: int) -> ForkedProcess:
        """Start `python -m module`, which writes to the open file `log`.

        Raises:
            ForkServerGone: nothing was started.
        """
        async with self._one_at_a_time:
            return ForkedProcess(await asyncio.to_thread(self.fork, module, environment, log))

    def fork(self, module: str, environment: Mapping[str, str], log: int) -> int:
        """`start` for one caller at a time that waits for the process by itself: its pid.

        Raises:
            ForkServerGone: nothing was started.
        """
        request = json.dumps({"module": module, "environment": dict(environment)}).encode()
        if self._requests is None or len(request) > MAX_REQUEST_BYTES:
            raise ForkServerGone
        try:
            return _ask(self._requests, request, log)
        except (OSError, ValueError) as exc:
            # An answer that comes late would be taken for the next one.
            self.close()
            raise ForkServerGone from exc

    def close(self) -> None:
        """End it; what it has forked goes on."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _ask(requests: socket.socket, request: bytes, log: int) -> int:
    # Only meanwhile: orphans of other programs are not ours to bury.
    _adopt_orphans(True)
    try:
        socket.send_fds(requests, [request], [log])
        pid = int(requests.recv(64))
    finally:
        _adopt_orphans(False)
    if pid == NOBODY:
        raise OSError("the kernel does not let this process adopt others")
    return pid


def _adopt_orphans(value: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(value), 0, 0, 0)


def _may_watch() -> bool:
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True

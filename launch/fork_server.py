"""A process that has imported what servers import, and forks one whenever the launcher asks.

The servers import the same libraries, which takes each of them most of the time of its start.
Run as `python -m launch.fork_server SOCKET MODULE...`; `launch/forked.py` is the other end.

What is forked looks as if the launcher had started it by `python -m MODULE`: it is the launcher's
child, has its own session and environment, dies with the launcher, and `ps` shows that command.
Nothing here may start a thread or open a connection: neither outlives a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

MAX_REQUEST_BYTES = 128 * 1024
# The answer when nothing was started.
NOBODY = 0
_PR_SET_PDEATHSIG = 1
# Where arguments and environment begin and end, counted from the field after the program's name.
_ADDRESSES = slice(45, 49)


def main(arguments: list[str]) -> str:
    """Serve until the launcher is gone; returns, in a forked process only, the module to run."""
    launcher = os.getppid()
    with socket.socket(fileno=int(arguments[0])) as requests:
        _import(arguments[1:])
        while True:
            message, files, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 1)
            if not message:
                sys.exit(0)
            if _fork_apart():
                if not _is_adopted(launcher):
                    requests.send(str(NOBODY).encode())
                    os._exit(1)
                _become(json.loads(message), files[0])
                requests.send(str(os.getpid()).encode())
                break
            os.close(files[0])
    module: str = json.loads(message)["module"]
    return module


def _import(modules: list[str]) -> None:
    # Objects made here live as long as the process, and the collector's marks would unshare them.
    gc.disable()
    for module in modules:
        # What is wrong with a server is said by the server, in its own log.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    gc.enable()


def _fork_apart() -> bool:
    """Fork a process that is not our child; True is returned in that one only.

    Its parent ends at once, so that it becomes the child of the launcher, which adopts it.
    """
    between = os.fork()
    if between == 0:
        between = os.getpid()
        if os.fork() != 0:
            os._exit(0)
        while os.getppid() == between:
            time.sleep(0.0005)
        return True
    os.waitpid(between, 0)
    return False


def _is_adopted(launcher: int) -> bool:
    # The death signal is that of the parent which the process has when it asks.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    return os.getppid() == launcher


def _become(request: dict[str, Any], log: int) -> None:
    os.setsid()
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = []
    with contextlib.suppress(OSError, ValueError):
        _show(f"{sys.executable} -m {request['module']}", request["environment"])


def _show(command: str, environment: dict[str, str]) -> None:
    """Let /proc tell this command and environment, as far as there is room for them."""
    # The name, which comes before, may contain anything.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arguments, arguments_end, variables, variables_end = map(int, fields[_ADDRESSES])
    room = arguments_end - arguments
    # A last byte that is not 0 says that this is one text, not arguments.
    _write(arguments, command.encode()[: room - 2].ljust(room - 1, b"\0") + b"\1")
    room = variables_end - variables
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    _write(variables, (block if len(block) < room else b"").ljust(room, b"\0"))


def _write(address: int, data: bytes) -> None:
    if address:
        ctypes.memmove(address, data, len(data))


if __name__ == "__main__":
    wanted = main(sys.argv[1:])
    runpy.run_module(wanted, run_name="__main__", alter_sys=True)

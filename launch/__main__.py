"""`python -m launch`: run the mesh until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
import time

from launch.accounts import CredentialsError
from launch.data_folder import AlreadyRunning, DataFolder, DataFolderUnusable
from launch.hints import hints
from launch.mesh import Mesh
from launch.topology import LaunchSettings, TopologyError
from mesh.private import UMASK

# What is told in one line; anything else is a fault of ours.
START_FAILURES = (CredentialsError, OSError, RuntimeError)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(line: str) -> None:
    """Print one line at once; a terminal or pipe that has gone stops no server."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


async def run(settings: LaunchSettings, folder: DataFolder) -> int:
    """Run the mesh until a signal; returns the exit code."""
    mesh = Mesh(settings, folder, say)
    stop = asyncio.Event()

    def on_signal(name: str) -> None:
        if stop.is_set():
            say(f"{name} again: stopping at once")
            mesh.kill()
        else:
            say(f"{name}: stopping")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number.name)
    say(f"starting the mesh in {settings.data_dir}")
    began = time.monotonic()
    starting = asyncio.create_task(mesh.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            say(f"all servers answer after {time.monotonic() - began:.1f} s")
            say(hints(settings, folder))
            await stopping
        return 0
    except START_FAILURES as failure:
        # Of several that failed together this is the first; the others are stopped like it.
        say(f"the mesh did not start: {failure}")
        return 1
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await mesh.stop()
        stopping.cancel()


def main() -> int:
    """Run and return the exit code: 0 after a stop, 1 on failure, 2 on wrong use."""
    for stream in (sys.stdout, sys.stderr):
        # A path may have characters that the terminal's encoding has not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Of all that is started here, PostgreSQL and Valkey included.
    os.umask(UMASK)
    try:
        settings = LaunchSettings.read(os.environ)
        folder = DataFolder(settings.data_dir)
        with folder.held():
            return asyncio.run(run(settings, folder))
    except (TopologyError, AlreadyRunning, DataFolderUnusable) as refused:
        print(refused, file=sys.stderr)
        return 2
    except START_FAILURES as failed:
        print(f"the mesh did not start: {failed}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

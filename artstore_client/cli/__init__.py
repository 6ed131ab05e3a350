"""The `artstore` command: one module for each group of commands."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command with the arguments of the process, and exit with its code."""
    # Imported here, so that importing this package costs nothing; this one first, which is small.
    from artstore_client.cli import first_signal

    first_signal.heed()
    # Core writes about each connection to standard error; ours are the only lines there.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from artstore_client.cli.memory import keep_memory

    keep_memory()
    from artstore_client.cli import streams

    streams.prepare()
    from artstore_client.cli.ending import ended

    def run() -> int:
        from artstore_client.cli.app import run

        return run()

    raise SystemExit(ended(run))

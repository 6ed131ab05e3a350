"""Puts the commands together and runs them."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from artstore_client.cli import cache, exit_codes, files, get, mesh, put, search, streams
from artstore_client.cli.output import print_error

app = typer.Typer(
    name="artstore",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Store files and get them back. The mesh and the account come from ARTSTORE_* variables "
        "or from .artstore/mesh.json, which `make run` writes."
    ),
    epilog=exit_codes.HELP,
)
app.command()(put.put)
app.command()(get.get)
app.command()(files.stat)
app.command()(files.ls)
app.command()(files.update)
app.command()(files.rm)
app.command()(files.restore)
app.command()(search.search)
app.command()(search.sync)
app.command()(mesh.elements)
app.command()(mesh.mode)
app.command()(mesh.token)
app.add_typer(cache.app, name="cache")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; answers its exit code.

    Args:
        arguments: default those of the process.
    """
    try:
        code = _run(arguments)
        streams.flush()
    except KeyboardInterrupt:
        print_error("interrupted")
        return exit_codes.INTERRUPTED
    except (streams.OutputFailed, BrokenPipeError) as failed:
        # Whoever read the answers has gone, or there is no room; nothing more can be told there.
        if isinstance(failed, streams.OutputFailed) and not failed.gone:
            print_error(failed)
        return exit_codes.FAILURE
    except exit_codes.EXPECTED as error:
        print_error(error)
        return exit_codes.code_of(error)
    except Exception as error:
        print_error(_fault(error))
        return exit_codes.FAILURE
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app(args=None if arguments is None else list(arguments), prog_name="artstore")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else exit_codes.FAILURE
    return exit_codes.OK


def _fault(error: Exception) -> str:
    """One line for what nobody foresaw, with the place, for whoever mends it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"a fault of this program, {type(error).__name__} in {where}: {text}"

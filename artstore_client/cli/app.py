"""Puts the commands together and runs them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any, cast

import typer

from artstore_client.cli import (
    account,
    audit,
    cache,
    check,
    collect,
    element,
    erasure,
    exit_codes,
    explain,
    files,
    get,
    keys,
    mesh,
    policy,
    put,
    retention,
    search,
    selftest,
    transfer,
    trash,
    uploads,
)
from artstore_client.cli.limits import NoRetry, Timeout, take, with_limits
from artstore_client.cli.output import print_error

# Typer keeps its copy of Click under names that change.
_UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])

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
app.command()(explain.explain)
app.command()(files.update)
app.command()(files.rm)
app.command()(files.restore)
app.command()(erasure.hold)
app.command()(erasure.release)
app.command()(erasure.erase)
app.command()(collect.collect)
app.command()(retention.keep)
app.command()(transfer.finalize)
app.command()(transfer.move)
app.command()(search.search)
app.command()(search.sync)
app.command()(uploads.uploads)
app.command()(check.check)
app.command()(check.resolve)
app.command()(mesh.elements)
app.command()(mesh.mode)
app.command()(mesh.token)
app.command()(selftest.selftest)
app.add_typer(cache.app, name="cache")
app.add_typer(account.app, name="account")
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
app.add_typer(element.app, name="element")
app.add_typer(transfer.app, name="transfer")
app.add_typer(trash.app, name="trash")
app.add_typer(policy.app, name="policy")


@app.callback()
def all_commands(timeout: Timeout = None, no_retry: NoRetry = False) -> None:
    """Heed what stands before the command."""
    take(timeout, no_retry)


for group in (
    app,
    cache.app,
    account.app,
    audit.app,
    keys.app,
    element.app,
    transfer.app,
    trash.app,
    policy.app,
):
    for known in group.registered_commands:
        if known.callback is not None:
            known.callback = with_limits(known.callback)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; answers its exit code.

    Args:
        arguments: default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = copy_context().run(app, args=given, prog_name="artstore", standalone_mode=False)
        return code if isinstance(code, int) else exit_codes.OK
    except _UsageError as error:
        _tell_usage(error)
        return exit_codes.USAGE
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else exit_codes.FAILURE
    except KeyboardInterrupt:
        print_error("interrupted")
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answers has gone; nothing more can be told.
        sys.stderr.close()
        return exit_codes.FAILURE


def _tell_usage(error: Any) -> None:
    """One line with what is wrong and where to read on; all of the help when nothing was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    command = error.ctx.command_path if error.ctx is not None else "artstore"
    what = error.format_message().rstrip(".")
    print_error(f"{what}; see `{command} --help`")

"""`artstore trash ...`: deleted files that can be brought back."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from artstore_client import Client, errors
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_size,
    print_error,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.running import each, one_element, run_command
from artstore_client.trash import TrashedFile

app = typer.Typer(
    no_args_is_help=True, help="Show deleted files whose bytes are still there, and restore them."
)

_TIME = "%Y-%m-%d %H:%M:%SZ"


@app.command("list")
def list_trash(
    element: Annotated[
        str | None, typer.Option(help="Only this element.", autocompletion=complete_element)
    ] = None,
    namespace: Annotated[str, typer.Option(help="Only this namespace.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON line for each file.")] = False,
) -> None:
    """List deleted files whose bytes are still there, and when those go."""

    async def command(client: Client) -> int:
        await one_element(client, element)
        found: list[TrashedFile] = []
        code = exit_codes.OK
        try:
            async with aclosing(client.trash.list(element or "", namespace=namespace)) as trash:
                async for one in trash:
                    if json:
                        print_json(_as_json(one))
                    else:
                        found.append(one)
        except errors.Unavailable as error:
            print_error(error)
            code = exit_codes.UNAVAILABLE
        if not found and not json and code == exit_codes.OK:
            print_line("nothing is in the trash")
        elif not json:
            print_table(
                ("id", "element", ">size", "deleted", "gone", "name"), [_row(one) for one in found]
            )
        return code

    run_command(command)


@app.command()
def restore(
    file_ids: Annotated[list[str], typer.Argument(help="Ids of files.")],
    days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="Days to keep it from now; an expired file needs them."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON line for each file.")] = False,
) -> None:
    """Bring deleted files back."""

    async def command(client: Client) -> int:
        async def undelete(file_id: str) -> None:
            file = await client.trash.restore(file_id, retention_days=days)
            if json:
                print_json(file)
            else:
                print_line(f"{file.file_id}  restored  {file.original_filename}")

        return await each(file_ids, undelete)

    run_command(command)


def _as_json(one: TrashedFile) -> dict[str, object]:
    purge_at = None if one.purge_at is None else one.purge_at.isoformat().replace("+00:00", "Z")
    return as_json(one.file) | {
        "deleted_at": one.deleted_at.isoformat().replace("+00:00", "Z"),
        "purge_at": purge_at,
        "expired": one.expired,
    }


def _row(one: TrashedFile) -> tuple[str, ...]:
    file = one.file
    return (
        file.file_id,
        file.storage_element_id,
        human_size(file.size_bytes),
        one.deleted_at.strftime(_TIME),
        "" if one.purge_at is None else one.purge_at.strftime(_TIME),
        f"{file.original_filename}{' (expired: needs --days)' if one.expired else ''}",
    )

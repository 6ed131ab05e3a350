"""`artstore uploads`: which are open, and ending them."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from artstore.v1 import storage_pb2
from artstore_client import Client, errors
from artstore_client.cli import exit_codes
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_size,
    human_time,
    print_error,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.running import each, run_command

_COLUMNS = ("upload", "account", ">sent", ">reserved", "begun", "ends", "name")


def uploads(
    element: Annotated[
        str,
        typer.Option(
            "--element", help="Only those of this element.", autocompletion=complete_element
        ),
    ] = "",
    account: Annotated[str, typer.Option("--account", help="Only those of this account.")] = "",
    abort: Annotated[
        list[str] | None,
        typer.Option("--abort", metavar="ID", help="End this upload and free its room; repeat it."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON line for each upload.")] = False,
) -> None:
    """Show open uploads, or end them: your own, as ADMIN all."""
    ids = abort or []

    async def end(client: Client) -> int:
        async def one(upload_id: str) -> None:
            await client.open_uploads.abort(upload_id)
            if json:
                print_json({"upload_id": upload_id, "aborted": True})
            else:
                print_line(f"{upload_id}  ended")

        return await each(ids, one)

    async def show(client: Client) -> int:
        found: list[storage_pb2.OpenUpload] = []
        code = exit_codes.OK
        try:
            async with aclosing(client.open_uploads.list(element, created_by=account)) as listed:
                async for upload in listed:
                    if json:
                        print_json(upload)
                    else:
                        found.append(upload)
        except errors.Unavailable as error:
            print_error(error)
            code = exit_codes.code_of(error)
        if found:
            print_table(_COLUMNS, [_row(upload) for upload in found])
        elif not json and code == exit_codes.OK:
            print_line("no uploads are open")
        return code

    run_command(end if ids else show)


def _row(upload: storage_pb2.OpenUpload) -> tuple[str, ...]:
    sent = human_size(upload.committed_size_bytes)
    if upload.header.HasField("size_bytes"):
        sent += f" of {human_size(upload.header.size_bytes)}"
    return (
        upload.upload_id,
        upload.created_by,
        sent,
        "lapsed" if upload.lapsed else human_size(upload.reserved_size_bytes),
        human_time(upload.created_at),
        human_time(upload.expires_at),
        upload.header.original_filename,
    )

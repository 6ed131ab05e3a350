"""`artstore stat`, `ls`, `update`, `rm`, `restore`: descriptions of files."""

from __future__ import annotations

from contextlib import aclosing
from itertools import count
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from artstore.v1 import types_pb2
from artstore_client import Client, errors
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_expiry,
    human_size,
    human_time,
    print_error,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.put import parse_attributes
from artstore_client.cli.running import each, one_element, run_command
from artstore_client.contract import MAX_PAGE_SIZE

_JSON = typer.Option("--json", help="JSON, one document or line for each file.")
_IDS = typer.Argument(help="Ids of files.")


def stat(file_ids: Annotated[list[str], _IDS], json: Annotated[bool, _JSON] = False) -> None:
    """Show all that is known of a file."""

    async def command(client: Client) -> int:
        async def show(file_id: str) -> None:
            file = await client.stat(file_id)
            if json:
                print_json(file)
            else:
                print_description(file)

        return await each(file_ids, show)

    run_command(command)


def ls(
    element: Annotated[
        str | None, typer.Option(help="Only this element.", autocompletion=complete_element)
    ] = None,
    namespace: Annotated[str, typer.Option(help="Only this namespace.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """List active files, oldest first on each element."""

    async def command(client: Client) -> int:
        await one_element(client, element)
        rows: list[types_pb2.File] = []
        code = exit_codes.OK
        try:
            async with aclosing(
                client.list_files(
                    element or "",
                    namespace=namespace,
                    page_size=min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE),
                )
            ) as files:
                numbers = count(1)
                async for file in files:
                    if json:
                        print_json(file)
                    else:
                        rows.append(file)
                    if next(numbers) == limit:
                        break
        except errors.Unavailable as error:
            print_error(error)
            code = exit_codes.UNAVAILABLE
        if client.doubt and not element:
            print_error(f"files on elements added lately may be missing: {client.doubt}")
        if not json:
            _print_files(rows)
        return code

    run_command(command)


def update(
    file_id: Annotated[str, typer.Argument(help="Id of the file.")],
    *,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    content_type: Annotated[str | None, typer.Option(help="New media type.")] = None,
    description: Annotated[str | None, typer.Option(help="New text.")] = None,
    version: Annotated[str | None, typer.Option(help="New version label.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="New labels, instead of all.")] = None,
    attr: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="New attributes, instead of all.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days to keep it.")] = None,
    legal_hold: Annotated[
        bool | None, typer.Option("--legal-hold/--no-legal-hold", help="Hold it (ADMIN).")
    ] = None,
    revision: Annotated[
        int | None, typer.Option(help="Only if it still has this revision.")
    ] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Change what was said of a file."""
    changes: dict[str, Any] = {
        "original_filename": name,
        "content_type": content_type,
        "description": description,
        "version": version,
        "tags": tag or None,
        "attributes": parse_attributes(attr) if attr else None,
        "retention_days": days,
    }
    given = {field: value for field, value in changes.items() if value is not None}
    if not given and legal_hold is None:
        raise typer.BadParameter("say what to change")

    async def command(client: Client) -> None:
        if given:
            file = await client.update(file_id, expected_revision=revision, **given)
        if legal_hold is not None:
            file = await client.set_legal_hold(file_id, legal_hold)
        if json:
            print_json(file)
        else:
            print_line(f"{file.file_id}  revision {file.revision}")

    run_command(command)


def rm(
    file_ids: Annotated[list[str], _IDS],
    revision: Annotated[
        int | None, typer.Option(help="Only if it still has this revision.")
    ] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Delete files; `artstore restore` brings them back while they are in the trash (7 days)."""

    async def command(client: Client) -> int:
        async def delete(file_id: str) -> None:
            _print_change(
                await client.delete(file_id, expected_revision=revision), "deleted", json=json
            )

        return await each(file_ids, delete)

    run_command(command)


def restore(
    file_ids: Annotated[list[str], _IDS],
    days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="Days to keep it from now on; an expired one needs it."),
    ] = None,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Bring deleted files back, with --days also those that have expired."""

    async def command(client: Client) -> int:
        async def undelete(file_id: str) -> None:
            if days is None:
                file = await client.undelete(file_id)
            else:
                file = await client.retention.restore(file_id, days)
            _print_change(file, "restored", json=json)

        return await each(file_ids, undelete)

    run_command(command)


def print_description(message: Message) -> None:
    """All fields that say something, one on a line."""
    for name, value in as_json(message).items():
        if value in ("", [], {}, False):
            continue
        if isinstance(value, dict):
            shown = ", ".join(f"{key}={text}" for key, text in value.items())
        else:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
        print_line(f"{name:20} {shown}")


def _print_change(file: types_pb2.File, done: str, *, json: bool) -> None:
    if json:
        print_json(file)
    else:
        print_line(f"{file.file_id}  {done}  {file.original_filename}")


def _print_files(files: list[types_pb2.File]) -> None:
    print_table(
        ("id", "element", ">size", "created", "expires", "name"),
        [
            (
                file.file_id,
                file.storage_element_id,
                human_size(file.size_bytes),
                human_time(file.created_at),
                human_expiry(file),
                file.attributes.get("path") or file.original_filename,
            )
            for file in files
        ],
    )

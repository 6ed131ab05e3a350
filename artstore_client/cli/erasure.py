"""`artstore hold`, `release`, `erase`: files that must stay, and files of which nothing may."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore.v1 import lifecycle_pb2, operations_pb2
from artstore_client import Client
from artstore_client.cli.asking import agreed, require_somebody
from artstore_client.cli.output import print_advice, print_json, print_line
from artstore_client.cli.running import run_command

_ID = typer.Argument(help="Id of the file.")
_JSON = typer.Option("--json", help="One JSON document.")
_REASON = typer.Option(help="Why, for the audit: at most 200 bytes.")


def hold(
    file_id: Annotated[str, _ID],
    reason: Annotated[str, _REASON] = "",
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Hold a file: it neither expires nor can be deleted, collected or erased (ADMIN)."""

    async def command(client: Client) -> None:
        _print_hold(await client.erasure.hold(file_id, reason=reason), "held", json=json)

    run_command(command)


def release(
    file_id: Annotated[str, _ID],
    reason: Annotated[str, _REASON] = "",
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Lift the hold of a file (ADMIN)."""

    async def command(client: Client) -> None:
        _print_hold(await client.erasure.release(file_id, reason=reason), "not held", json=json)

    run_command(command)


def erase(
    file_id: Annotated[str, _ID],
    reason: Annotated[
        str,
        typer.Option(
            help="Why: 1 to 200 bytes, which stay. Write nothing there that is to be forgotten."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Erase a file for ever, everywhere: bytes, names, descriptions (ADMIN). Nothing undoes it.

    Backups of stores and of PostgreSQL still have it; a store that is put back from one is erased
    again. docs/operations.md says what else lasts a while.
    """
    if not yes:
        require_somebody(f"to erase {file_id} for ever, say --yes")
        if not agreed(f"erase {file_id} for ever? nothing brings it back"):
            raise typer.Exit(1)

    async def command(client: Client) -> None:
        answer = await client.erasure.erase(file_id, reason=reason)
        if json:
            print_json(answer)
            return
        operation = answer.operation
        print_line(f"{file_id}  erased  {' '.join(answer.storage_element_ids)}")
        if operation.state != operations_pb2.OPERATION_STATE_SUCCEEDED:
            print_advice(
                f"artstore: {operation.error or 'something remains'}; it follows by itself, and"
                " this command, given again, tells of what remains"
            )

    run_command(command)


def _print_hold(answer: lifecycle_pb2.SetLegalHoldResponse, done: str, *, json: bool) -> None:
    if json:
        print_json(answer)
        return
    print_line(f"{answer.file.file_id}  {done}  {answer.file.original_filename}")
    if answer.silent_storage_element_ids:
        print_advice(
            f"artstore: copies on {', '.join(answer.silent_storage_element_ids)} are told when"
            " these answer"
        )

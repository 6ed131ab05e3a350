"""`artstore finalize`, `artstore move`, `artstore transfer ...`: files on their way to elements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Annotated

import typer

from artstore.v1 import lifecycle_pb2
from artstore_client import Client
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import enum_word
from artstore_client.cli.completion import complete_element, complete_transfer
from artstore_client.cli.output import (
    human_size,
    human_time,
    print_error,
    print_json,
    print_line,
    print_note,
    print_table,
)
from artstore_client.cli.patience import News
from artstore_client.cli.running import each, run_command
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.transfers import ENDED, Transfer

app = typer.Typer(
    no_args_is_help=True, help="Look after files on their way to another element (ADMIN, AUDITOR)."
)

_COLUMNS = ("transfer", "kind", "file", "from", "to", "state", ">copied", "next try", "error")
_STATES = {
    enum_word(lifecycle_pb2.TransferState.DESCRIPTOR, number): number
    for number in lifecycle_pb2.TransferState.values()
    if number
}

FileId = Annotated[str, typer.Argument(metavar="ID", help="Id of the file.")]
TransferIds = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Transfers.", autocompletion=complete_transfer),
]
Revision = Annotated[int | None, typer.Option(help="Only if it still has this revision.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until the transfer has ended.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON line for each.")]


def finalize(
    file_id: FileId,
    to: Annotated[
        str,
        typer.Option(
            help="An element in mode rw; else the first that has room.",
            autocompletion=complete_element,
        ),
    ] = "",
    revision: Revision = None,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Make a temporary file permanent, and have it moved to an element in mode rw.

    It is permanent at once and keeps its id. How far its move is, this command tells when it is
    given again.
    """

    async def ask(client: Client) -> Transfer:
        return await client.finalize(file_id, target=to, expected_revision=revision)

    _follow(ask, wait=wait, json=json)


def move(
    file_id: FileId,
    to: Annotated[
        str,
        typer.Option(
            help="The element; else another one that has room.", autocompletion=complete_element
        ),
    ] = "",
    revision: Revision = None,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Have a file moved to another element (ADMIN). It keeps its id and stays readable."""

    async def ask(client: Client) -> Transfer:
        return await client.move(file_id, target=to, expected_revision=revision)

    _follow(ask, wait=wait, json=json)


# `list` names a type above.
@app.command("list")
def list_transfers(
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only these, repeat it: {', '.join(_STATES)}.",
            autocompletion=lambda incomplete: [n for n in _STATES if n.startswith(incomplete)],
        ),
    ] = None,
    file: Annotated[str, typer.Option("--file", metavar="ID", help="Only of this file.")] = "",
    element: Annotated[
        str, typer.Option(help="Only from or to this element.", autocompletion=complete_element)
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    json: JsonLines = False,
) -> None:
    """Show transfers, newest first."""
    states = [_state(word) for word in state or ()]

    async def command(client: Client) -> None:
        found: list[Transfer] = []
        size = min(limit, MAX_PAGE_SIZE)
        transfers = client.transfers.list(
            states=states, file_id=file, element_id=element, page_size=size
        )
        async with aclosing(transfers):
            async for transfer in transfers:
                found.append(transfer)
                if len(found) == limit:
                    break
        if json:
            for transfer in found:
                print_json(transfer)
        elif found:
            print_table(_COLUMNS, [_row(one) for one in found])
        else:
            print_line("no transfers")

    run_command(command)


@app.command()
def show(
    transfer_ids: TransferIds,
    wait: Wait = False,
    json: JsonLines = False,
) -> None:
    """Show how far transfers are; with --wait it fails if one ends without its file being there."""

    async def command(client: Client) -> int:
        codes = [exit_codes.OK]

        async def one(transfer_id: str) -> None:
            transfer = await client.transfers.show(transfer_id)
            if wait:
                transfer = await client.transfers.wait(transfer, progress=_news())
                codes.append(_code(transfer))
            _print(transfer, json=json)

        return exit_codes.worst([await each(transfer_ids, one), *codes])

    run_command(command)


@app.command()
def retry(transfer_ids: TransferIds, json: JsonLines = False) -> None:
    """Try transfers that failed again (ADMIN)."""

    async def command(client: Client) -> int:
        async def one(transfer_id: str) -> None:
            _print(await client.transfers.retry(transfer_id), json=json)

        return await each(transfer_ids, one)

    run_command(command)


@app.command()
def cancel(transfer_ids: TransferIds, json: JsonLines = False) -> None:
    """Give transfers up (ADMIN): the file stays where it is, and permanent if it was finalized."""

    async def command(client: Client) -> int:
        async def one(transfer_id: str) -> None:
            _print(await client.transfers.cancel(transfer_id), json=json)

        return await each(transfer_ids, one)

    run_command(command)


def _follow(ask: Callable[[Client], Awaitable[Transfer]], *, wait: bool, json: bool) -> None:
    async def command(client: Client) -> int:
        transfer = await ask(client)
        if wait and transfer.state not in ENDED:
            print_note(f"{_way(transfer)}: transfer {transfer.transfer_id}")
            transfer = await client.transfers.wait(transfer, progress=_news())
        _print(transfer, json=json)
        return _code(transfer)

    run_command(command)


def _news() -> Callable[[Transfer], None]:
    """Tells how far a transfer is that is waited for."""
    news = News()

    def tell(transfer: Transfer) -> None:
        if transfer.state not in ENDED:
            news.tell(f"{_word(transfer)}, {_copied(transfer)}", transfer.error)

    return tell


def _print(transfer: Transfer, *, json: bool) -> None:
    """One line of how it is, and what to do next where that is anything."""
    if json:
        print_json(transfer)
    else:
        print_line(
            f"{transfer.transfer_id}  {_word(transfer)}  {_way(transfer)}  {transfer.file_id}"
        )
    if transfer.state == lifecycle_pb2.TRANSFER_STATE_FAILED:
        print_error(_given_up(transfer))
    elif transfer.state == lifecycle_pb2.TRANSFER_STATE_CANCELLED and not json:
        print_note(f"it was cancelled: the file is still on {transfer.source_storage_element_id}")
    elif transfer.state not in ENDED and not json:
        again = f", tried again {human_time(transfer.next_attempt_at)}" if transfer.error else ""
        why = f" ({transfer.error}{again})" if transfer.error else ""
        print_note(f"under way{why}: `artstore transfer show {transfer.transfer_id} --wait`")


def _given_up(transfer: Transfer) -> str:
    """Why, and what whoever asked for it does next: `retry` is ADMIN's."""
    often = f" after {transfer.attempts} attempts" if transfer.attempts > 1 else ""
    if transfer.kind == lifecycle_pb2.TRANSFER_KIND_FINALIZE:
        again = f"`artstore finalize {transfer.file_id}`"
    else:
        again = f"`artstore transfer retry {transfer.transfer_id}`"
    return f"given up{often}: {transfer.error}; when that is mended: {again}"


def _code(transfer: Transfer) -> int:
    """Of one that has ended without its file being where it was to go, failure."""
    ended_else = transfer.state in ENDED and _word(transfer) != "completed"
    return exit_codes.FAILURE if ended_else else exit_codes.OK


def _row(transfer: Transfer) -> tuple[str, ...]:
    return (
        transfer.transfer_id,
        enum_word(lifecycle_pb2.TransferKind.DESCRIPTOR, transfer.kind),
        transfer.file_id,
        transfer.source_storage_element_id,
        transfer.target_storage_element_id,
        _word(transfer),
        _copied(transfer),
        human_time(transfer.next_attempt_at),
        transfer.error,
    )


def _copied(transfer: Transfer) -> str:
    return f"{human_size(transfer.copied_size_bytes)} of {human_size(transfer.size_bytes)}"


def _way(transfer: Transfer) -> str:
    target = transfer.target_storage_element_id or "?"
    return f"{transfer.source_storage_element_id} -> {target}"


def _word(transfer: Transfer) -> str:
    return enum_word(lifecycle_pb2.TransferState.DESCRIPTOR, transfer.state)


def _state(word: str) -> lifecycle_pb2.TransferState.ValueType:
    number = _STATES.get(word.lower())
    if number is None:
        raise typer.BadParameter(f"{word!r} is no state of transfers: {', '.join(_STATES)}")
    return number

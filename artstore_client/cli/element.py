"""`artstore element ...`: which storage elements there may be (ADMIN)."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore.v1 import elements_pb2, types_pb2
from artstore_client import Client
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.asking import agreed, require_somebody
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_time,
    print_advice,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.running import run_command

app = typer.Typer(
    no_args_is_help=True, help="Add storage elements, and admit what changes of them (ADMIN)."
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command()
def add(
    element: Annotated[str, typer.Argument(help="Id of the new element: se-04.")],
    endpoint: Annotated[
        str, typer.Option(help="host:port whose host it must report from; else what it says.")
    ] = "",
    priority: Annotated[
        int | None, typer.Option(min=0, help="Place in the order; else what its server is told.")
    ] = None,
    json: Json = False,
) -> None:
    """Make an element known and print what its server is told, with a secret shown only here."""

    async def command(client: Client) -> None:
        made = await client.admission.add(element, endpoint=endpoint, priority=priority)
        if json:
            print_json(made)
            return
        print_line(f"ARTSTORE_ELEMENT_ID={made.element.storage_element_id}")
        print_line(f"ARTSTORE_CLIENT_ID={made.client_id}")
        print_line(f"ARTSTORE_CLIENT_SECRET={made.client_secret}")
        print_advice(
            f"artstore: start the server of {element} with these; the secret is not shown again"
        )

    run_command(command)


@app.command("list")
def list_elements(json: Json = False) -> None:
    """Show the elements as admin knows them, and what waits to be admitted."""

    async def command(client: Client) -> None:
        elements = await client.admission.registered()
        if json:
            print_json([as_json(one) for one in elements])
        else:
            columns = ("element", "endpoint", "mode", ">priority", "reported", "state")
            print_table(columns, [_row(one) for one in elements])

    run_command(command)


@app.command()
def admit(
    element: Annotated[
        str, typer.Argument(help="Id of the element.", autocompletion=complete_element)
    ],
    endpoint: Annotated[str, typer.Option(help="The host:port to accept, as it waits.")] = "",
    store: Annotated[str, typer.Option(help="The id of the store to accept, as it waits.")] = "",
    json: Json = False,
) -> None:
    """Accept the store or the address that an element reports and that waits.

    Do this when you have given the element another store or another host: what has its name then
    gets the mesh's calls. Without --endpoint and --store it asks.
    """

    async def command(client: Client) -> None:
        waits = await client.admission.waiting(element)
        accepted = {"store_id": store, "endpoint": endpoint}
        if not store and not endpoint:
            _ask(waits)
            accepted = {
                "store_id": waits.awaiting_store_id,
                "endpoint": waits.awaiting_endpoint,
            }
        admitted = await client.admission.admit(element, **accepted)
        if json:
            print_json(admitted)
        else:
            print_line(f"{admitted.storage_element_id}  {admitted.endpoint}  {admitted.store_id}")

    run_command(command)


def _ask(waits: elements_pb2.StorageElement) -> None:
    """Show what waits, and go on if whoever sits there says yes.

    Raises:
        typer.BadParameter: nobody does.
        typer.Exit: it was no yes.
    """
    options = {"store": waits.awaiting_store_id, "endpoint": waits.awaiting_endpoint}
    asked = " ".join(f"--{name} {value}" for name, value in options.items() if value)
    require_somebody(f"of {waits.storage_element_id} this waits; if you know it, say: {asked}")
    for name, value in options.items():
        if value:
            print_advice(f"{name}  {value}  waits to be admitted")
    if not agreed(f"does the mesh go on with this as {waits.storage_element_id}?"):
        raise typer.Exit(1)


def _row(element: elements_pb2.StorageElement) -> tuple[str, ...]:
    reported = element.HasField("reported_at")
    return (
        element.storage_element_id,
        element.endpoint,
        enum_word(types_pb2.ElementMode.DESCRIPTOR, element.mode) if element.endpoint else "",
        str(element.priority),
        human_time(element.reported_at) if reported else "",
        state_of(element),
    )


def state_of(element: elements_pb2.StorageElement) -> str:
    """How it is, for people."""
    words = ["reports" if element.healthy else "silent"]
    if not element.endpoint:
        words = ["is sent nothing" if element.store_id else "has not reported yet"]
        if element.store_id and element.client_id:
            words.append(f"account {element.client_id} is suspended")
    if element.HasField("client_id") and not element.client_id:
        words.append("NO ACCOUNT")
    if element.awaiting_store_id:
        words.append(f"store {element.awaiting_store_id} waits to be admitted")
    if element.awaiting_endpoint:
        words.append(f"{element.awaiting_endpoint} waits to be admitted")
    return ", ".join(words)

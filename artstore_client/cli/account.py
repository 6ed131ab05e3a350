"""`artstore account ...`: who may use the mesh, as what."""

from __future__ import annotations

from contextlib import aclosing, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from artstore.v1 import accounts_pb2
from artstore.v1.accounts_pb2 import AccountLimits, ServiceAccount
from artstore_client import Client, settings
from artstore_client.cli.account_file import new_account_file
from artstore_client.cli.account_output import (
    hand_over,
    print_account,
    print_accounts,
    print_change,
)
from artstore_client.cli.amounts import parse_duration
from artstore_client.cli.asking import agreed, require_somebody
from artstore_client.cli.completion import complete_account
from artstore_client.cli.output import (
    human_time,
    print_json,
    print_line,
    print_note,
)
from artstore_client.cli.running import run_command

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Make and change accounts (ADMIN; `list` and `show` also AUDITOR). An account gives only"
        " what it has: no other namespaces than its own."
    ),
)


class RoleWord(StrEnum):
    """What an account is for."""

    READONLY = "readonly"
    USER = "user"
    AUDITOR = "auditor"
    SERVICE = "service"
    ADMIN = "admin"

    @property
    def number(self) -> accounts_pb2.Role.ValueType:
        """As messages have it."""
        return accounts_pb2.Role.Value(f"ROLE_{self.upper()}")


Name = Annotated[str, typer.Argument(help="Name of the account.", autocompletion=complete_account)]
Description = Annotated[str | None, typer.Option(help="Free text.")]
Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", help="It may read and write this one, as its role does; * is all."),
]
ReadNamespaces = Annotated[
    list[str] | None, typer.Option("--read-namespace", help="It may read this one besides.")
]
OpenUploads = Annotated[
    int | None, typer.Option(min=0, show_default=False, help="Uploads open at a time [1000].")
]
ReservedPercent = Annotated[
    int | None,
    typer.Option(
        min=0, max=100, show_default=False, help="Room its uploads may reserve, of the mesh's [10]."
    ),
]
Calls = Annotated[
    int | None,
    typer.Option(min=1, show_default=False, help="Calls at a time on one server [800]."),
]
Save = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write endpoints, name and secret into this file, which only you may read, and show"
        " no secret. `ARTSTORE_MESH=FILE artstore ...` uses it.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON, one document or line for each account.")]


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(help="3 to 64 of a-z, 0-9, -, _, .; made up if left out.")
    ] = "",
    *,
    role: Annotated[RoleWord, typer.Option(help="What it may do.")],
    namespace: Namespaces = None,
    read_namespace: ReadNamespaces = None,
    description: Description = None,
    open_uploads: OpenUploads = None,
    reserved_percent: ReservedPercent = None,
    calls: Calls = None,
    save: Save = None,
    json: Json = False,
) -> None:
    """Make an account and show its secret, once; in a pipe the secret is all that is printed."""

    async def command(client: Client) -> None:
        with nullcontext() if save is None else new_account_file(save) as file:
            made = await client.accounts.create(
                name,
                role=role.number,
                namespaces=namespace or (),
                read_namespaces=read_namespace or (),
                description=description or "",
                limits=_limits(open_uploads, reserved_percent, calls),
            )
            hand_over(made.account, made.client_secret, file, save, json=json)

    run_command(command)


@app.command("list")
def list_accounts(json: Json = False) -> None:
    """List all accounts, by name."""

    async def command(client: Client) -> None:
        rows: list[ServiceAccount] = []
        async with aclosing(client.accounts.list()) as accounts:
            async for account in accounts:
                if json:
                    print_json(account)
                else:
                    rows.append(account)
        if not json:
            print_accounts(rows)

    run_command(command)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show all that is known of an account; never its secret."""

    async def command(client: Client) -> None:
        print_account(await client.accounts.show(name), json=json)

    run_command(command)


@app.command()
def update(
    name: Name,
    *,
    role: Annotated[RoleWord | None, typer.Option(help="What it may do.")] = None,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", help="Its namespaces, instead of all.")
    ] = None,
    read_namespace: Annotated[
        list[str] | None,
        typer.Option("--read-namespace", help="Those it may read besides, instead of all."),
    ] = None,
    no_read_namespaces: Annotated[
        bool, typer.Option("--no-read-namespaces", help="It reads none besides.")
    ] = False,
    description: Description = None,
    open_uploads: OpenUploads = None,
    reserved_percent: ReservedPercent = None,
    calls: Calls = None,
    default_limits: Annotated[
        bool, typer.Option("--default-limits", help="It has no limits of its own any more.")
    ] = False,
    json: Json = False,
) -> None:
    """Change an account; what is taken away is gone within 30 s."""
    limits = _limits(open_uploads, reserved_percent, calls)
    if default_limits and limits is not None:
        raise typer.BadParameter("--default-limits goes with no limit")
    if no_read_namespaces and read_namespace:
        raise typer.BadParameter("--no-read-namespaces goes with no --read-namespace")
    changes: dict[str, Any] = {
        "role": None if role is None else role.number,
        "namespaces": namespace or None,
        "read_namespaces": [] if no_read_namespaces else read_namespace or None,
        "description": description,
        "limits": AccountLimits() if default_limits else limits,
    }
    given = {field: value for field, value in changes.items() if value is not None}
    if not given:
        raise typer.BadParameter("say what to change")

    async def command(client: Client) -> None:
        print_account(await client.accounts.update(name, **given), json=json)

    run_command(command)


@app.command()
def rotate(
    name: Name,
    overlap: Annotated[
        int | None,
        typer.Option(
            parser=parse_duration,
            metavar="TIME",
            show_default=False,
            help="The old secret goes on for that long: 1h, 7d. Without, it ends at once, and so"
            " do sessions of before.",
        ),
    ] = None,
    save: Save = None,
    json: Json = False,
) -> None:
    """Give an account a new secret, shown once; in a pipe the secret is all that is printed."""

    async def command(client: Client) -> None:
        with nullcontext() if save is None else new_account_file(save, name) as file:
            made = await client.accounts.rotate(name, overlap_seconds=overlap or 0)
            hand_over(made.account, made.client_secret, file, save, json=json)
        if made.account.HasField("old_secret_ends_at"):
            until = human_time(made.account.old_secret_ends_at)
            print_note(f"the old secret of {name} is good until {until}")
        else:
            print_note(f"the old secret of {name} has ended, and its sessions end within 30 s")
        if settings.load().client_id == name:
            print_note(
                f"{name} is the account of this command: put the new secret where it looks for it"
                " (ARTSTORE_CLIENT_SECRET, or the mesh file, and with `make run` credentials.json"
                " beside that)"
            )

    run_command(command)


@app.command()
def suspend(name: Name, json: Json = False) -> None:
    """Shut an account out, its sessions within 30 s; `artstore account resume` lets it in again."""

    async def command(client: Client) -> None:
        print_change(await client.accounts.suspend(name), "suspended", json=json)

    run_command(command)


@app.command()
def resume(name: Name, json: Json = False) -> None:
    """Let a suspended account in again."""

    async def command(client: Client) -> None:
        print_change(await client.accounts.resume(name), "resumed", json=json)

    run_command(command)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
) -> None:
    """Remove an account for good; its files stay, its sessions end within 30 s."""
    if not yes:
        require_somebody("nobody can be asked here: say --yes")
        if not agreed(f"Remove account {name} for good?"):
            print_note("nothing was removed")
            raise typer.Exit(1)

    async def command(client: Client) -> None:
        account = await client.accounts.show(name)
        await client.accounts.delete(name)
        print_line(f"{name}  removed")
        if account.created_by == "bootstrap":
            print_note(
                f"admin's bootstrap file may still name {name}: it is not made from there again;"
                " take it out"
            )

    run_command(command)


def _limits(
    open_uploads: int | None, reserved_percent: int | None, calls: int | None
) -> AccountLimits | None:
    """Those that were given; None if none was."""
    given = {"open_uploads": open_uploads, "reserved_percent": reserved_percent, "calls": calls}
    if all(value is None for value in given.values()):
        return None
    return AccountLimits(**given)

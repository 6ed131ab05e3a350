"""`artstore policy ...`: what holds for the files of each namespace (ADMIN)."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore.v1 import lifecycle_pb2
from artstore_client import Client
from artstore_client.cli.amounts import parse_size
from artstore_client.cli.as_json import as_json
from artstore_client.cli.output import human_size, human_time, print_json, print_line, print_table
from artstore_client.cli.running import run_command

app = typer.Typer(
    no_args_is_help=True,
    help="How long the files of a namespace are kept, and how much they may take (ADMIN).",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Namespace = Annotated[str, typer.Argument(metavar="NS", help="The namespace.")]

_UNSET = {
    "default_retention_days": "30",
    "max_retention_days": "3650",
    "copies": "1",
    "max_copies": "5",
    "trash_days": "7, or as its element is set",
    "quota_bytes": "no limit",
}


@app.command("list")
def list_policies(json: Json = False) -> None:
    """Show the policies that were set."""

    async def command(client: Client) -> None:
        found = [policy async for policy in client.policies.list()]
        if json:
            print_json([as_json(one) for one in found])
            return
        columns = ("namespace", ">days", ">at most", ">trash", ">quota", ">used", "set")
        print_table(columns, [_row(one) for one in found])

    run_command(command)


@app.command()
def show(namespace: Namespace, json: Json = False) -> None:
    """Show the policy of a namespace, what was not set too, and the bytes that its files take."""

    async def command(client: Client) -> None:
        _print(await client.policies.get(namespace), json=json)

    run_command(command)


@app.command("set")
def set_policy(
    namespace: Namespace,
    *,
    default_retention_days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="Days to keep temporary files."),
    ] = None,
    max_retention_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="The most days that may be asked for.")
    ] = None,
    copies: Annotated[
        int | None, typer.Option(min=1, max=5, help="Copies to keep (not acted on yet).")
    ] = None,
    max_copies: Annotated[
        int | None, typer.Option(min=1, max=5, help="The most copies (not acted on yet).")
    ] = None,
    trash_days: Annotated[
        int | None, typer.Option(min=0, max=3650, help="Days in the trash; 0: none.")
    ] = None,
    quota_bytes: Annotated[
        int | None,
        typer.Option(parser=parse_size, metavar="SIZE", help="What its files may take: 64GiB."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget what was set before, all of it.")
    ] = False,
    json: Json = False,
) -> None:
    """Change what is given of a namespace's policy, for files stored from now on."""
    given = {
        name: value
        for name, value in (
            ("default_retention_days", default_retention_days),
            ("max_retention_days", max_retention_days),
            ("copies", copies),
            ("max_copies", max_copies),
            ("trash_days", trash_days),
            ("quota_bytes", quota_bytes),
        )
        if value is not None
    }
    if not given and not reset:
        raise typer.BadParameter("say what to set")

    async def command(client: Client) -> None:
        policy = lifecycle_pb2.Policy(namespace=namespace)
        if not reset:
            policy = await client.policies.get(namespace)
        policy.MergeFrom(lifecycle_pb2.Policy(**given))  # type: ignore[arg-type]
        _print(await client.policies.set(policy), json=json)

    run_command(command)


def _print(policy: lifecycle_pb2.Policy, *, json: bool) -> None:
    if json:
        print_json(policy)
        return
    print_line(f"{'namespace':24} {policy.namespace}")
    for name, unset in _UNSET.items():
        told = str(getattr(policy, name)) if policy.HasField(name) else f"{unset} (not set)"  # type: ignore[arg-type]
        print_line(f"{name:24} {told}")
    print_line(f"{'used_bytes':24} {policy.used_bytes}")
    if policy.HasField("updated_at"):
        print_line(f"{'updated_at':24} {human_time(policy.updated_at)}")


def _row(policy: lifecycle_pb2.Policy) -> tuple[str, ...]:
    def told(name: str) -> str:
        return str(getattr(policy, name)) if policy.HasField(name) else ""  # type: ignore[arg-type]

    return (
        policy.namespace,
        told("default_retention_days"),
        told("max_retention_days"),
        told("trash_days"),
        human_size(policy.quota_bytes) if policy.HasField("quota_bytes") else "",
        human_size(policy.used_bytes),
        human_time(policy.updated_at),
    )

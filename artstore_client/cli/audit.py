"""`artstore audit ...`: who did what."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

import typer

from artstore.v1.audit_pb2 import AuditEvent, AuditOutcome
from artstore_client import Client
from artstore_client.cli import exit_codes
from artstore_client.cli.amounts import Before, Since
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.output import human_time, print_error, print_json, print_line, print_table
from artstore_client.cli.running import run_command
from artstore_client.contract import MAX_PAGE_SIZE

app = typer.Typer(
    no_args_is_help=True,
    help="Show who did what, and whether the record of it is whole (AUDITOR or ADMIN of *).",
)

File = Annotated[str, typer.Option("--file", metavar="ID", help="Only of this file.")]
Resource = Annotated[str, typer.Option(help="Only of this account or element.")]
Actor = Annotated[str, typer.Option(help="Only what this account did, or was refused.")]
Action = Annotated[str, typer.Option(help="Only this: file.deleted, CreateServiceAccount, ...")]
First = Annotated[
    int | None, typer.Option("--from", min=1, metavar="N", help="Begin with event N.")
]


# `list` names a type below.
@app.command("list")
def list_events(
    *,
    file: File = "",
    resource: Resource = "",
    actor: Actor = "",
    action: Action = "",
    since: Since = None,
    before: Before = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON line for each event.")] = False,
) -> None:
    """Show what was done, newest first. Who deleted a file: `artstore audit list --file ID`."""

    async def command(client: Client) -> None:
        events: list[AuditEvent] = []
        found = client.audit.list(
            actor=actor,
            action=action,
            resource=file or resource,
            after=since,
            before=before,
            page_size=min(limit, MAX_PAGE_SIZE),
        )
        async with aclosing(found):
            async for event in found:
                events.append(event)
                if len(events) == limit:
                    break
        if json:
            for event in events:
                print_json(event)
        else:
            print_table(
                (">number", "when", "who", "what", "to", "outcome", "more"),
                [_row(event) for event in events],
            )

    run_command(command)


@app.command()
def verify(
    first: First = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Walk the chain of hashes; ends with 1 and names the first event that does not fit."""

    async def command(client: Client) -> int:
        verdict = await client.audit.verify(first)
        if json:
            print_json(verdict)
        elif verdict.valid:
            print_line(f"{verdict.verified_count} events, none altered, missing or added")
        else:
            print_error(
                f"event {verdict.first_broken_sequence} was altered, removed or added;"
                f" {verdict.verified_count} before it are whole"
            )
        return exit_codes.OK if verdict.valid else exit_codes.FAILURE

    run_command(command)


@app.command()
def export(
    *,
    first: First = None,
    file: File = "",
    resource: Resource = "",
    actor: Actor = "",
    action: Action = "",
    since: Since = None,
    before: Before = None,
) -> None:
    """Write events as JSON lines, oldest first, to keep them elsewhere."""

    async def command(client: Client) -> None:
        found = client.audit.export(
            first,
            actor=actor,
            action=action,
            resource=file or resource,
            after=since,
            before=before,
        )
        async with aclosing(found):
            async for event in found:
                print_json(event)

    run_command(command)


def _row(event: AuditEvent) -> tuple[str, ...]:
    said: dict[str, Any] = as_json(event)
    more = {
        "reason": event.reason,
        **said["details"],
        "element": event.storage_element_id,
        "request": event.request_id,
    }
    return (
        str(event.sequence),
        human_time(event.occurred_at),
        event.actor,
        event.action,
        event.resource,
        enum_word(AuditOutcome.DESCRIPTOR, event.outcome),
        ", ".join(f"{name} {text}" for name, text in more.items() if text),
    )

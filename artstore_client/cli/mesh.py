"""`artstore elements`, `mode`, `token`: the mesh itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from artstore.v1 import elements_pb2, types_pb2
from artstore_client import Client, ElementReport, errors
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_size,
    human_time,
    print_error,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.running import run_command


class Mode(StrEnum):
    """Modes of an element."""

    EDIT = "edit"
    RW = "rw"
    RO = "ro"
    AR = "ar"


def elements(
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show the storage elements, their modes and how full they are."""

    async def command(client: Client) -> int:
        reports = await client.elements()
        if json:
            print_json([_report(report) for report in reports])
        else:
            print_table(
                (
                    "element",
                    "endpoint",
                    "mode",
                    ">priority",
                    ">files",
                    ">used",
                    ">capacity",
                    "state",
                ),
                [_row(report) for report in reports],
            )
        for report in reports:
            if report.error is not None:
                print_error(report.error)
        if client.doubt:
            print_error(f"elements added lately may be missing: {client.doubt}")
        return exit_codes.worst(
            [exit_codes.code_of(report.error) for report in reports if report.error is not None]
        )

    run_command(command)


def mode(
    element: Annotated[
        str, typer.Argument(help="Id of the element.", autocompletion=complete_element)
    ],
    new_mode: Annotated[Mode, typer.Argument(help="Next is ro after rw, ar after ro.")],
    confirm: Annotated[bool, typer.Option("--confirm", help="To step back from ro to rw.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Change an element's mode (ADMIN)."""

    async def command(client: Client) -> None:
        number = types_pb2.ElementMode.Value(f"ELEMENT_MODE_{new_mode.upper()}")
        changed = await client.set_mode(element, number, confirm=confirm)
        if json:
            print_json(changed)
        else:
            print_line(f"{changed.storage_element_id}  {_mode(changed)}")

    run_command(command)


def token() -> None:
    """Print a bearer token: grpcurl -H "authorization: Bearer $(artstore token)" ..."""

    async def command(client: Client) -> None:
        print_line(await client.access_token())

    run_command(command)


def _report(report: ElementReport) -> dict[str, Any]:
    known: dict[str, Any] = {
        "storage_element_id": report.storage_element_id,
        "endpoint": report.endpoint,
        "error": report.error.message if report.error else None,
        "down_since": _down_since(report) or None,
    }
    if report.element is not None:
        return as_json(report.element) | known
    if report.last_report is None:
        return known
    return as_json(report.last_report) | {"writable": False, "healthy": False} | known


def _row(report: ElementReport) -> tuple[str, ...]:
    element = report.element or report.last_report
    if element is None:
        return (report.storage_element_id, report.endpoint, "", "", "", "", "", "no answer")
    if report.element is None:
        since = _down_since(report)
        state = f"down since {since}" if since else "no answer"
    else:
        state = _state(report.element)
    return (
        element.storage_element_id,
        report.endpoint,
        _mode(element),
        str(element.priority),
        str(element.file_count),
        human_size(element.used_bytes),
        human_size(element.capacity_bytes),
        state,
    )


def _down_since(report: ElementReport) -> str:
    """When admin last heard from an element that does not answer; empty of one that does."""
    if not isinstance(report.error, errors.Unavailable) or report.last_report is None:
        return ""
    return human_time(report.last_report.reported_at)


def _state(element: elements_pb2.StorageElement) -> str:
    level = enum_word(types_pb2.FillLevel.DESCRIPTOR, element.fill_level)
    words = ["writable" if element.writable else "not writable"]
    if level not in ("ok", "unspecified"):
        words.append(level)
    if element.unwritable_reason not in ("", level):
        words.append(element.unwritable_reason)
    return ", ".join(words)


def _mode(element: elements_pb2.StorageElement) -> str:
    return enum_word(types_pb2.ElementMode.DESCRIPTOR, element.mode)

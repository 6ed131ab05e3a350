"""`artstore elements`, `mode`, `token`: the mesh itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from artstore.v1 import types_pb2
from artstore_client import Client, ElementReport
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.output import human_size, print_error, print_json, print_line, print_table
from artstore_client.cli.session import run_command


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
        return exit_codes.worst(
            [exit_codes.code_of(report.error) for report in reports if report.error is not None]
        )

    run_command(command)


def mode(
    element: Annotated[str, typer.Argument(help="Id of the element.")],
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
    }
    return known if report.element is None else as_json(report.element) | known


def _row(report: ElementReport) -> tuple[str, ...]:
    element = report.element
    if element is None:
        return (report.storage_element_id, report.endpoint, "", "", "", "", "", "no answer")
    return (
        element.storage_element_id,
        report.endpoint,
        _mode(element),
        str(element.priority),
        str(element.file_count),
        human_size(element.used_bytes),
        human_size(element.capacity_bytes),
        _state(element),
    )


def _state(element: types_pb2.StorageElement) -> str:
    level = enum_word(types_pb2.FillLevel.DESCRIPTOR, element.fill_level)
    words = ["writable" if element.writable else "not writable"]
    if level not in ("ok", "unspecified"):
        words.append(level)
    if element.unwritable_reason not in ("", level):
        words.append(element.unwritable_reason)
    return ", ".join(words)


def _mode(element: types_pb2.StorageElement) -> str:
    return enum_word(types_pb2.ElementMode.DESCRIPTOR, element.mode)

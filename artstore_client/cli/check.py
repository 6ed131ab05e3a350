"""`artstore check` and `artstore resolve`: the whole mesh, and the home of one file."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from artstore.v1.registry_pb2 import CheckMeshResponse, Finding, FindingKind
from artstore_client import Client
from artstore_client.cli import cache as caches
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.cache import Level
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_time,
    print_advice,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.running import run_command

_ADVICE = {
    FindingKind.FINDING_KIND_NO_HOME: "`artstore resolve ID --home se-NN` makes one the home",
    FindingKind.FINDING_KIND_SET_ASIDE: "`artstore resolve ID --home se-NN` makes one the home",
    FindingKind.FINDING_KIND_COPIES_DIFFER: (
        "`artstore cache check se-NN --level deep` tells which bytes are as their sidecar says"
    ),
    FindingKind.FINDING_KIND_DAMAGED: (
        "bring the bytes back from a backup of the store, then run `artstore cache check`"
    ),
    FindingKind.FINDING_KIND_CLOCK: "set the clock of the element that made it",
}


def check(
    element: Annotated[
        str | None,
        typer.Argument(help="Id of the element; all if left out.", autocompletion=complete_element),
    ] = None,
    mesh: Annotated[
        bool, typer.Option("--mesh", help="Compare the elements' files with each other instead.")
    ] = False,
    level: Annotated[Level, typer.Option(help="How closely to look at an element.")] = Level.FULL,
    json: Annotated[bool, typer.Option("--json", help="One JSON document, or line.")] = False,
) -> None:
    """Check elements, or with --mesh the whole mesh; ends with 1 if something is wrong."""
    if not mesh:
        caches.check(element, level=level, json=json)
        return
    if element is not None:
        raise typer.BadParameter("--mesh checks all elements: leave ELEMENT out")

    async def command(client: Client) -> int:
        answer = await client.mesh_check.run()
        async with aclosing(client.mesh_check.findings()) as found:
            findings = [finding async for finding in found]
        if json:
            print_json(as_json(answer) | {"findings": [as_json(one) for one in findings]})
        else:
            _tell(answer, findings)
        clean = answer.complete and not findings
        return exit_codes.OK if clean else exit_codes.FAILURE

    run_command(command)


def resolve(
    file_id: Annotated[str, typer.Argument(metavar="ID", help="The file.")],
    home: Annotated[
        str,
        typer.Option(
            "--home", help="The element that is to be its home.", autocompletion=complete_element
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say which element is the home of a file that has none of its own accord (ADMIN)."""

    async def command(client: Client) -> None:
        answer = await client.mesh_check.resolve(file_id, home)
        if json:
            print_json(answer)
        else:
            print_line(f"{answer.file.file_id}  {answer.file.storage_element_id} is its home")

    run_command(command)


def _tell(answer: CheckMeshResponse, findings: list[Finding]) -> None:
    print_line(f"{answer.file_count} files looked at")
    for count in answer.counts:
        print_line(f"  {count.count} {_word(count.kind)}")
    if findings:
        print_table(
            ("file", "what", "elements", "since", "more"),
            [
                (
                    one.file_id,
                    _word(one.kind),
                    " ".join(one.storage_element_ids),
                    human_time(one.found_at),
                    one.detail,
                )
                for one in findings
            ],
        )
    elif answer.complete:
        print_line("nothing is wrong")
    if not answer.complete:
        print_advice("an element did not answer or was not read yet: check again when all are up")
    for kind in dict.fromkeys(one.kind for one in findings):
        if kind in _ADVICE:
            print_advice(f"{_word(kind)}: {_ADVICE[kind]}")


def _word(kind: FindingKind.ValueType) -> str:
    return enum_word(FindingKind.DESCRIPTOR, kind).replace("_", " ")

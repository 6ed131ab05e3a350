"""`artstore explain`: where a file is and why there, how it is, and what happens to it next."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore_client import Client
from artstore_client.cli import exit_codes
from artstore_client.cli.explain_json import document
from artstore_client.cli.explain_lines import sections
from artstore_client.cli.output import print_error, print_json, print_line
from artstore_client.cli.running import run_command


def explain(
    file_id: Annotated[str, typer.Argument(help="Id of the file.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Explain a file: where it is and why there, how it is, and what happens to it next.

    It changes nothing, and works for files that were deleted, too. What the account may not see
    is named.
    """

    async def command(client: Client) -> int:
        told = await client.explain(file_id)
        if json:
            print_json(document(told))
        else:
            for title, lines in sections(told):
                for number, line in enumerate(lines):
                    print_line(f"{title if number == 0 else '':10} {line}")
        if told.error is None:
            return exit_codes.OK
        print_error(told.error)
        return exit_codes.code_of(told.error)

    run_command(command)

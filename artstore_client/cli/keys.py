"""`artstore keys ...`: the keys that access tokens are signed with."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore_client import Client
from artstore_client.cli.output import human_time, print_json, print_line
from artstore_client.cli.running import run_command

app = typer.Typer(no_args_is_help=True, help="Change the signing keys of tokens (ADMIN of *).")


# Without it, Typer makes the group's only command the group itself.
@app.callback()
def all_commands() -> None:
    """Nothing is common to them."""


@app.command()
def rotate(
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Sign with a new key from now on; tokens of the old one live out. Takes about 3 s."""

    async def command(client: Client) -> None:
        rotated = await client.keys.rotate()
        if json:
            print_json(rotated)
        else:
            until = human_time(rotated.old_key_expires_at)
            print_line(f"{rotated.key_id}  signs; keys of before are good until {until}")

    run_command(command)

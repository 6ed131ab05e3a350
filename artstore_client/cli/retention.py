"""`artstore keep`: keeping files for longer."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore_client import Client
from artstore_client.cli.output import human_time, print_json, print_line
from artstore_client.cli.running import each, run_command


def keep(
    file_ids: Annotated[list[str], typer.Argument(help="Ids of files.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days to keep it from now on.")],
    json: Annotated[
        bool, typer.Option("--json", help="JSON, one document or line for each file.")
    ] = False,
) -> None:
    """Keep temporary files for so many days from now, also one that expired a moment ago.

    One that is kept longer already stays so; `artstore update --days` also shortens.
    """

    async def command(client: Client) -> int:
        async def extend(file_id: str) -> None:
            kept = await client.retention.keep(file_id, days)
            if json:
                print_json(kept.file)
                return
            already = "already " if kept.was_so_already else ""
            until = human_time(kept.file.expires_at)
            print_line(f"{kept.file.file_id}  {already}kept until {until}")

        return await each(file_ids, extend)

    run_command(command)

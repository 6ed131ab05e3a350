"""`artstore get`: a file out of the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from artstore_client import Client
from artstore_client.cli import interrupts
from artstore_client.cli.left_behind import Transfer
from artstore_client.cli.meanwhile import already_there
from artstore_client.cli.output import human_size, print_json, print_line
from artstore_client.cli.output_name import output_name
from artstore_client.cli.progress import transfer_bar
from artstore_client.cli.running import run_command
from artstore_client.downloads.placing import descriptor_of
from artstore_client.results import DownloadedFile

STANDARD_OUTPUT = "-"


def get(
    file_id: Annotated[str, typer.Argument(help="Id of the file.")],
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", help="File or folder to write; `-`: standard output.")
    ] = "",
    offset: Annotated[int, typer.Option(min=0, help="First byte.")] = 0,
    length: Annotated[int, typer.Option(min=0, help="Number of bytes; 0: to the end.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Download a file under the name it had, verified, and resumed if it breaks off."""
    # Another name of it must not get the line about the download between its bytes.
    to_standard_output = output == STANDARD_OUTPUT or descriptor_of(Path(output)) == 1
    if json and to_standard_output:
        raise typer.BadParameter("standard output is for one of them", param_hint="--json")
    into_folder = _is_folder(output)
    whole = not offset and not length

    async def fetched(client: Client, target: Path) -> DownloadedFile:
        transfer = Transfer(target.name)
        left = interrupts.telling(lambda: transfer.of_get(target, file_id, whole=whole))
        with left, transfer_bar(target.name, quiet=json) as progress:
            return await client.download(
                file_id,
                target,
                offset=offset,
                length=length,
                overwrite=force,
                progress=transfer.noting(progress),
            )

    async def command(client: Client) -> None:
        if to_standard_output:
            out, transfer = sys.stdout.buffer, Transfer("standard output")
            with interrupts.telling(transfer.of_stream):
                await client.download(
                    file_id, out, offset=offset, length=length, progress=transfer.noting(None)
                )
            out.flush()
            return
        target = Path(output)
        if into_folder:
            with interrupts.telling(lambda: "nothing was written; get it again"):
                file = await client.stat(file_id)
            target /= output_name(file.original_filename, file.file_id)
        there = None if force else await already_there(client, file_id, target, whole=whole)
        result = there or await fetched(client, target)
        _print_result(result, target, json=json)

    run_command(command)


def _print_result(result: DownloadedFile, target: Path, *, json: bool) -> None:
    written = target.stat().st_size if target.is_file() else result.size_bytes
    if json:
        print_json(
            {
                "file_id": result.file.file_id,
                "path": str(target),
                "size_bytes": written,
                "sha256": result.file.sha256,
                "verified": result.verified,
            }
        )
    else:
        checked = "verified" if result.verified else "a part, not verified as a whole"
        print_line(f"{target}  ({human_size(written)}, {checked})")


def _is_folder(output: str) -> bool:
    return not output or output.endswith("/") or Path(output).is_dir()

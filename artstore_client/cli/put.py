"""`artstore put`: files and folders into the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from artstore_client import Client, UploadedFile, errors
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json
from artstore_client.cli.output import human_size, print_error, print_json, print_line
from artstore_client.cli.progress import transfer_bar
from artstore_client.cli.session import run_command
from artstore_client.sources import printable

PATH_ATTRIBUTE = "path"
STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One file to upload; `relative` is its path below the folder that was named."""

    source: Path | None
    relative: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What the options say of every file."""

    name: str = ""
    content_type: str = ""
    description: str = ""
    version: str = ""
    tags: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    permanent: bool = False
    days: int = 0


def put(
    paths: Annotated[list[str], typer.Argument(help="Files; `-` is standard input.")],
    *,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Take folders; paths go to attribute `path`.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name to keep, for one file.")] = "",
    content_type: Annotated[str, typer.Option(help="Media type; guessed from the name.")] = "",
    description: Annotated[str, typer.Option(help="Free text.")] = "",
    version: Annotated[str, typer.Option(help="Your own version label.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A label; may be repeated.")] = None,
    attr: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="An attribute; may be repeated.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Default: `default`.")] = "",
    permanent: Annotated[bool, typer.Option("--permanent", help="Keep it for good.")] = False,
    days: Annotated[int, typer.Option(min=0, max=36500, help="Days to keep it; 0: 30.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON line for each file.")] = False,
) -> None:
    """Upload files. A large upload that was cut off goes on when it is repeated."""
    if name and (len(paths) != 1 or recursive):
        raise typer.BadParameter("--name is for one file", param_hint="--name")
    if permanent and days:
        raise typer.BadParameter("a permanent file has no days", param_hint="--days")
    if paths == [STANDARD_INPUT] and not name:
        raise typer.BadParameter("standard input needs a name", param_hint="--name")
    said = Said(
        name=name,
        content_type=content_type,
        description=description,
        version=version,
        tags=tag or [],
        attributes=parse_attributes(attr or []),
        namespace=namespace,
        permanent=permanent,
        days=days,
    )

    async def command(client: Client) -> int:
        codes, sizes = [], []
        for path in paths:
            for item in items_of(path, recursive=recursive):
                if isinstance(item, OSError):
                    print_error(item)
                    codes.append(exit_codes.FAILURE)
                    continue
                code, size = await _put_one(client, item, said, json=json)
                codes.append(code)
                sizes += [size] if code == exit_codes.OK else []
        if len(codes) > 1 and not json:
            print_line(f"{len(sizes)} of {len(codes)} files, {human_size(sum(sizes))}")
        return exit_codes.worst(codes)

    run_command(command)


async def _put_one(client: Client, item: Item, said: Said, *, json: bool) -> tuple[int, int]:
    """Exit code and size in bytes."""
    shown = item.relative or (str(item.source) if item.source else said.name)
    attributes = dict(said.attributes)
    if item.relative:
        attributes.setdefault(PATH_ATTRIBUTE, item.relative)
    try:
        with transfer_bar(shown, quiet=json) as progress:
            uploaded = await client.upload(
                item.source if item.source is not None else sys.stdin.buffer,
                name=said.name,
                content_type=said.content_type,
                description=said.description,
                version=said.version,
                tags=said.tags,
                attributes=attributes,
                namespace=said.namespace,
                permanent=said.permanent,
                retention_days=said.days,
                progress=progress,
            )
    except (errors.ArtStoreError, OSError) as error:
        print_error(error, about=printable(shown))
        return exit_codes.code_of(error), 0
    _print_result(uploaded, printable(shown), json=json)
    return exit_codes.OK, uploaded.file.size_bytes


def _print_result(uploaded: UploadedFile, shown: str, *, json: bool) -> None:
    if json:
        told = {
            "change_token": uploaded.change_token,
            "resumed_at_bytes": uploaded.resumed_at_bytes,
        }
        print_json(as_json(uploaded.file) | told)
        return
    resumed = (
        f", resumed at {human_size(uploaded.resumed_at_bytes)}" if uploaded.resumed_at_bytes else ""
    )
    print_line(f"{uploaded.file_id}  {shown}  ({human_size(uploaded.file.size_bytes)}{resumed})")


def items_of(path: str, *, recursive: bool) -> Iterator[Item | OSError]:
    """The files that an argument names, folders in the order of their names.

    Links to folders are not followed, so that no walk goes in circles; what is neither file nor
    folder is left out.
    """
    if path == STANDARD_INPUT:
        yield Item(None)
        return
    top = Path(path)
    if not top.is_dir():
        yield Item(top)
        return
    if not recursive:
        yield IsADirectoryError(f"{printable(path)} is a folder: use -r")
        return
    # Of "." the name is that of the folder it stands for.
    below = top.resolve().parent if not top.name or top.name == ".." else top.parent
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=unreadable.append):
        folders.sort()
        yield from unreadable
        unreadable.clear()
        for name in sorted(names):
            found = Path(folder, name)
            if found.is_file():
                relative = os.path.relpath(found.absolute(), below.absolute())
                yield Item(found, printable(relative))
    yield from unreadable


def parse_attributes(given: list[str]) -> dict[str, str]:
    """Read K=V pairs.

    Raises:
        typer.BadParameter: naming the one without `=`.
    """
    attributes = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not of the form K=V", param_hint="--attr")
        attributes[key] = value
    return attributes

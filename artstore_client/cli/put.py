"""`artstore put`: files and folders into the store."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import Annotated, BinaryIO

import typer

from artstore_client import Client, UploadedFile, errors
from artstore_client.cli import exit_codes, interrupts
from artstore_client.cli.as_json import as_json
from artstore_client.cli.left_behind import Transfer
from artstore_client.cli.output import human_size, print_error, print_json, print_line
from artstore_client.cli.progress import transfer_bar
from artstore_client.cli.running import run_command
from artstore_client.cli.walk import STANDARD_INPUT, VANISHED, Item, LeftOut, items_of
from artstore_client.uploads.sources import printable

PATH_ATTRIBUTE = "path"
# A mesh that takes longer to fail does not answer; one that fails sooner can be asked again.
SILENT_SECONDS = 8.0


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
        bool,
        typer.Option(
            "-r",
            "--recursive",
            help="Take folders; paths go to attribute `path`. A link to a file of the folder is "
            "stored as the file; what is no file, or leads out, is named and left out.",
        ),
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="With -r: go through links, wherever to.")
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
    days: Annotated[int, typer.Option(min=0, max=3650, help="Days to keep it; 0: 30.")] = 0,
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
        tally = Tally()
        with interrupts.telling(tally.before):
            for path in paths:
                for item in items_of(path, recursive=recursive, follow_links=follow_links):
                    if isinstance(item, LeftOut):
                        tally.leave_out(item)
                    elif isinstance(item, OSError):
                        tally.fail(item)
                    elif tally.silent_seconds:
                        tally.give_up(_shown(item, said))
                        return exit_codes.worst(tally.codes)
                    else:
                        await _put_one(client, item, said, tally, json=json)
        tally.tell(json=json)
        return exit_codes.worst(tally.codes)

    run_command(command)


class Tally:
    """What became of the files and of what was found beside them."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self._sizes: list[int] = []
        self._left_out = 0
        # How long the file before waited in vain for the mesh, 0 when it did not.
        self.silent_seconds = 0.0

    def store(self, size_bytes: int) -> None:
        """Count a file that was stored."""
        self.codes.append(exit_codes.OK)
        self._sizes.append(size_bytes)

    def fail(self, error: Exception, *, about: str = "") -> None:
        """Count one that was not, and say why."""
        print_error(error, about=about)
        self.codes.append(exit_codes.code_of(error))

    def leave_out(self, entry: LeftOut) -> None:
        """Count an entry that is not to be stored, and say why."""
        print_error(f"left out {printable(entry.path)}: {entry.reason}")
        self._left_out += 1

    def give_up(self, first: str) -> None:
        """Say where the command ended: one file has waited in vain, so the others need not."""
        stored = f"; {len(self._sizes)} files were stored before" if self._sizes else ""
        print_error(
            f"no answer for {self.silent_seconds:.0f} s, so nothing from {first} on was tried:"
            f" put it when the mesh answers{stored}"
        )

    def before(self) -> str:
        """For a command that is interrupted: what need not be put again."""
        return f"{len(self._sizes)} files were stored before" if self._sizes else ""

    def tell(self, *, json: bool) -> None:
        """The last line, when there was more than one; beside JSON only if something is missing."""
        if len(self.codes) + self._left_out < 2:
            return
        left_out = f", {self._left_out} left out" if self._left_out else ""
        stored, size = len(self._sizes), human_size(sum(self._sizes))
        line = f"{stored} of {len(self.codes)} files, {size}{left_out}"
        if not json:
            print_line(line)
        elif left_out or stored < len(self.codes):
            print_error(line)


async def _put_one(client: Client, item: Item, said: Said, tally: Tally, *, json: bool) -> None:
    shown = _shown(item, said)
    transfer = Transfer(shown)
    left = interrupts.telling(lambda: transfer.of_put(item.source))
    attributes = dict(said.attributes)
    if item.relative:
        attributes.setdefault(PATH_ATTRIBUTE, item.relative)
    try:
        with left, transfer_bar(shown, quiet=json) as progress:
            uploaded = await client.upload(
                item.source if item.source is not None else _standard_input(),
                name=said.name or item.name,
                content_type=said.content_type,
                description=said.description,
                version=said.version,
                tags=said.tags,
                attributes=attributes,
                namespace=said.namespace,
                permanent=said.permanent,
                retention_days=said.days,
                progress=transfer.noting(progress),
            )
    except (errors.ArtStoreError, OSError) as error:
        if isinstance(error, FileNotFoundError) and item.relative:
            tally.leave_out(LeftOut(item.relative, VANISHED))
        else:
            tally.fail(error, about=shown)
        stood = transfer.stood_seconds
        if isinstance(error, errors.Unavailable) and stood >= SILENT_SECONDS:
            tally.silent_seconds = stood
        return
    _print_result(uploaded, shown, json=json)
    tally.store(uploaded.file.size_bytes)


def _shown(item: Item, said: Said) -> str:
    return printable(item.relative or (os.fspath(item.source) if item.source else said.name))


def _standard_input() -> BinaryIO:
    # Not through the buffer of sys.stdin: its lock would be held while nothing comes.
    try:
        return io.FileIO(0, "rb", closefd=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard input") from None


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

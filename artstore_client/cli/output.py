"""What the command prints: answers to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from artstore_client.cli.as_json import as_json, dumps
from artstore_client.errors import ArtStoreError

if TYPE_CHECKING:
    from rich.console import Console

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: object) -> None:
    """One line of JSON for a message, or for plain values."""
    _write(dumps(as_json(value) if isinstance(value, Message) else value))


def print_line(text: str) -> None:
    """One line for people; control characters of names do not reach the terminal."""
    _write(printable(text))


def print_advice(text: str) -> None:
    """One line for people on standard error."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def print_error(error: BaseException | str, *, about: str = "") -> None:
    """One line on standard error."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ArtStoreError) and error.reason and error.reason not in text:
        text += f" [{error.reason}]"
    prefix = f"{about}: " if about and about not in text else ""
    sys.stderr.write(printable(f"artstore: {prefix}{text}") + "\n")
    sys.stderr.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; right-aligned where the column's name starts with `>`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    stdout_console().print(table)


def stdout_console() -> Console:
    """The console of standard output; as wide as needed when it is no terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=250, color_system=None)


def on_terminal() -> bool:
    """Whether somebody looks at standard error, where progress is shown."""
    return sys.stderr.isatty()


def printable(text: str) -> str:
    """`text` without characters that move a terminal's cursor; line breaks and emoji stay."""
    return "".join(
        character
        if character.isprintable() or character in "\n\t\u200d\ufe0f"
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def human_size(size_bytes: int) -> str:
    """`1.5 MiB`."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def human_time(time: Timestamp) -> str:
    """`2026-01-31 12:00:00Z`, empty when it is unset."""
    if not time.seconds:
        return ""
    return time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _write(text: str) -> None:
    # A name may hold what the terminal's encoding has not; a listing must not end there.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()

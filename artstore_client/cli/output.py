"""What the command prints: answers to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import types_pb2
from artstore_client.cli.as_json import as_json, dumps
from artstore_client.cli.visible import visible
from artstore_client.errors import ArtStoreError

if TYPE_CHECKING:
    from rich.text import Text

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: object) -> None:
    """One line of JSON for a message, or for plain values."""
    _write(dumps(as_json(value) if isinstance(value, Message) else value))


def print_line(text: str) -> None:
    """One line for people, whatever the names in it hold."""
    _write(visible(text))


def print_advice(text: str) -> None:
    """One line for people on standard error."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def print_error(error: BaseException | str, *, about: str = "") -> None:
    """One line on standard error."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, UnicodeError):
        # Not which text it is: that may be a secret.
        text = "an argument or a setting is no text: it has bytes that are not UTF-8"
    if isinstance(error, ArtStoreError) and error.reason and error.reason not in text:
        text += f" [{error.reason}]"
    prefix = f"{about}: " if about and about not in text else ""
    print_note(f"{prefix}{text}")


def print_note(text: str) -> None:
    """One line on standard error about what goes on."""
    print_advice(f"artstore: {text}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """A table with one line for each row, as long as it takes; a terminal breaks it, we do not.

    Args:
        columns: names; right-aligned where one starts with `>`.
        rows: cells. A `Text` must be `visible` already; its styles show on a terminal.
    """
    from rich.console import Console
    from rich.text import Text

    cells = [
        [cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row] for row in rows
    ]
    header = [Text(name.lstrip(">"), style="bold") for name in columns]
    widths = [max(cell.cell_len for cell in column) for column in zip(header, *cells, strict=True)]
    rule = min(sum(widths) + 2 * (len(widths) - 1), Console().width)
    for line in (header, [Text("─" * rule)], *cells):
        _print_text(_aligned(line, columns, widths))


def print_row(*cells: tuple[str, str]) -> None:
    """A row of a table that grows as its rows come; cells are (text, style on a terminal)."""
    from rich.text import Text

    _print_text(Text("  ").join(Text(visible(text), style=style) for text, style in cells))


def _print_text(text: Text) -> None:
    """One line; a terminal gets the styles, too."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(text, soft_wrap=True)
    else:
        _write(text.plain)


def _aligned(line: Sequence[Text], columns: Sequence[str], widths: Sequence[int]) -> Text:
    """The cells under each other, wide characters counted as two; nothing after the last."""
    from rich.text import Text

    whole = Text()
    for number, (cell, name, width) in enumerate(zip(line, columns, widths, strict=False)):
        padding = " " * (width - cell.cell_len)
        before = "  " if number else ""
        whole.append(before + (padding if name.startswith(">") else "")).append_text(cell)
        if not name.startswith(">") and number < len(line) - 1:
            whole.append(padding)
    return whole


def on_terminal() -> bool:
    """Whether somebody looks at standard error, where progress is shown."""
    return sys.stderr.isatty()


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


def human_expiry(file: types_pb2.File) -> str:
    """When a file expires; `held` while a hold keeps it, empty when it never does."""
    if not file.expires_at.seconds:
        return ""
    return "held" if file.legal_hold else human_time(file.expires_at)


def _write(text: str) -> None:
    # A name may hold what the terminal's encoding has not; a listing must not end there.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()

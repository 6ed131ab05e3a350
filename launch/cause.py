"""Why a program does not start, in one line, from what it wrote to its log."""

from __future__ import annotations

import json
from pathlib import Path

_TAIL_BYTES = 64 * 1024
_LONGEST = 400
_LOUD = ("error", "critical")
# What PostgreSQL writes before the cause.
_SIGNS = ("FATAL:", "PANIC:", "ERROR:", "Error", "error")


def told_since(log: Path, offset: int) -> str:
    """Return what a log says from a byte on, the last 64 KiB of it; "" if there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(offset if offset <= size else 0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def cause_in(text: str) -> str:
    """Return the line of a log that says what is wrong; "" when it says nothing.

    The last log entry of level ERROR, else the last line that looks like an error (which of a
    traceback is its end), else the last line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    entries = [_entry(line) for line in lines]
    for entry in reversed(entries):
        if str(entry.get("level", "")).lower() in _LOUD:
            return _short(_sentence(entry))
    plain = [line for line, entry in zip(lines, entries, strict=True) if not entry]
    for line in reversed(plain):
        if any(sign in line for sign in _SIGNS):
            return _short(line)
    if plain:
        return _short(plain[-1])
    return _short(_sentence(entries[-1])) if entries else ""


def _entry(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sentence(entry: dict[str, object]) -> str:
    """The event, with what its entry says of the error."""
    event = str(entry.get("event") or entry.get("message") or "")
    details = (entry.get(key) for key in ("error", "reason", "exception", "exc_info"))
    detail = next((str(found).strip() for found in details if found), "")
    last = detail.splitlines()[-1] if detail else ""
    return f"{event}: {last}" if event and last else event or last


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"

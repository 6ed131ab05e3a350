"""A name in the local file system for whatever name an uploader gave."""

from __future__ import annotations

import os
import re

from artstore_client.cli.visible import CONTROLS

MOST_BYTES = 255
_MOST_EXTENSION_BYTES = 20
# What lies between two parts of a path here: a backslash is a letter like others on POSIX.
_SEPARATORS = re.escape(os.sep + (os.altsep or ""))
_FORBIDDEN = re.compile(f"[{_SEPARATORS}{CONTROLS}]")
# Joined to what stands before them; a name does not end between the two.
_JOINERS = "\u200d\ufe0f"


def output_name(original_filename: str, file_id: str) -> str:
    """`original_filename` as it was, as far as it can be one name in a folder.

    Separators of paths, control characters and those that turn the direction of text become `_`;
    a name that begins with `.` (hidden, or a folder) or `-` (an option) gets a `_` before it. At
    most 255 bytes, cut at a character, the extension kept. Falls back to `file_id` when empty.
    """
    if not original_filename:
        return file_id
    name = _FORBIDDEN.sub("_", original_filename)
    return _cut(f"_{name}" if name[0] in ".-" else name)


def _cut(name: str) -> str:
    if len(name.encode("utf-8", "replace")) <= MOST_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = f"{dot}{extension}" if stem and len(extension.encode()) <= _MOST_EXTENSION_BYTES else ""
    head = (stem if tail else name).encode("utf-8", "replace")[: MOST_BYTES - len(tail.encode())]
    return head.decode("utf-8", "ignore").rstrip(_JOINERS) + tail

"""A safe name in the local file system for whatever name an uploader gave."""

from __future__ import annotations

MOST_BYTES = 240
_FORBIDDEN = set('<>:"/\\|?*')


def output_name(original_filename: str, file_id: str) -> str:
    """The last part of `original_filename`, without what no file name may hold.

    Folders, control characters and reserved characters never pass; a name that has nothing left,
    or is hidden from view, falls back to `file_id`. At most 240 bytes, the extension kept.
    """
    last = original_filename.replace("\\", "/").rsplit("/", 1)[-1]
    cleaned = "".join(
        "_"
        if character in _FORBIDDEN or (not character.isprintable() and character != "\u200d")
        else character
        for character in last
    )
    # Trailing dots and spaces are dropped by some systems, and "." and ".." are folders.
    cleaned = cleaned.strip().rstrip(". ")
    if not cleaned or not cleaned.strip("._ "):
        return file_id
    return _cut(cleaned)


def _cut(name: str) -> str:
    if len(name.encode("utf-8", "replace")) <= MOST_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = f"{dot}{extension}" if stem and len(extension.encode()) <= 20 else ""
    head = (stem if tail else name).encode("utf-8", "replace")[: MOST_BYTES - len(tail.encode())]
    return head.decode("utf-8", "ignore") + tail

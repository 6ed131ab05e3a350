"""The media type of a file, guessed from its name."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

# What is packed is no longer what it was: `data.csv.gz` is no text. The standard library tells
# these apart from types, or does not know them.
_PACKED = {
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".svgz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".tbz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".txz": "application/x-xz",
    ".zst": "application/zstd",
    ".tzst": "application/zstd",
    ".br": "application/x-brotli",
    ".lz4": "application/x-lz4",
    ".lzma": "application/x-lzma",
    ".lz": "application/x-lzip",
    ".z": "application/x-compress",
    ".zip": "application/zip",
    ".7z": "application/x-7z-compressed",
}


def guessed(name: str) -> str:
    """The media type that the extension of `name` stands for, in any case; empty if none."""
    suffix = PurePosixPath(name.rpartition("/")[2]).suffix.lower()
    # Of the name only this: to the standard library a whole one may be a URL.
    return _PACKED.get(suffix) or mimetypes.guess_type(f"file{suffix}")[0] or ""

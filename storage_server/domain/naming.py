"""Names of blobs and sidecars in a store.

    YYYY/MM/DD/HH/{stem}_{uploader}_{YYYYMMDDTHHMMSS}_{file_id}{ext}            the blob
    YYYY/MM/DD/HH/{stem}_{uploader}_{YYYYMMDDTHHMMSS}_{file_id}{ext}.attr.json  its sidecar
    YYYY/MM/DD/HH/erased_{YYYYMMDDTHHMMSS}_{file_id}.attr.json                  of an erased file

A name is at most 200 bytes of UTF-8; only the stem is shortened, at a character's border.
All times are UTC and come from the time in the file id.

File systems and tools that a store goes through change the form of names (NFD, case, `?` for what
they do not know, spaces and dots at the end). The id in a name survives that: it tells which
file a blob or sidecar belongs to, and what the sidecar records is only where to look first.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from storage_server.domain.file_id import milliseconds_of, time_of

SIDECAR_SUFFIX = ".attr.json"
MAX_NAME_BYTES = 200
MAX_EXTENSION_BYTES = 20
MAX_UPLOADER_CHARACTERS = 64

_HOUR_SECONDS = 3_600
_STEM_OF_NAMELESS = "file"
ERASED_STEM = "erased"
_NOBODY = "unknown"
# Control characters (C0, DEL, C1), separators and what other systems forbid, lone surrogates.
_FORBIDDEN = re.compile('[\x00-\x1f\x7f-\x9f<>:"/\\\\|?*\u2028\u2029\ud800-\udfff]')
_NOT_UPLOADER = re.compile(r"[^A-Za-z0-9.@+=,~-]")
_HEX = "[0-9a-fA-F]"
_UUID = re.compile(f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}")
_FOLDER = re.compile(r"\d{4}/(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01])/([01]\d|2[0-3])")


def clean(text: str) -> str:
    """`text` with each character that no file name should hold replaced by `_`. Idempotent."""
    return _FORBIDDEN.sub("_", text)


def split_name(original_filename: str) -> tuple[str, str]:
    """The cleaned (stem, extension) of a user's file name.

    The extension is what follows the last dot, with the dot, at most 20 bytes, or empty. A
    name without a stem (`.pdf`) gets the stem `file`; a leading dot of the stem becomes `_`,
    because stores ignore dotfiles.
    """
    stem, dot, suffix = clean(original_filename).rpartition(".")
    if not dot or not suffix:
        stem, suffix = stem + dot + suffix, ""
    extension = _cut("." + suffix, MAX_EXTENSION_BYTES) if suffix else ""
    if not stem:
        stem = _STEM_OF_NAMELESS
    if stem.startswith("."):
        stem = "_" + stem[1:]
    return stem, extension


def clean_uploader(uploader: str) -> str:
    """`uploader` as it stands in names: at most 64 ASCII characters, never empty."""
    return _NOT_UPLOADER.sub("_", uploader)[:MAX_UPLOADER_CHARACTERS] or _NOBODY


def storage_filename(
    original_filename: str, uploader: str, created_at: datetime, file_id: str
) -> str:
    """The blob's name in its folder: at most 200 bytes, no separator, unique by its id."""
    stem, extension = split_name(original_filename)
    tail = f"_{clean_uploader(uploader)}_{_stamp(created_at)}_{file_id}{extension}"
    return _cut(stem, MAX_NAME_BYTES - len(tail.encode())) + tail


def erased_filename(created_at: datetime, file_id: str) -> str:
    """What the name of a blob would be whose file was erased: it says nothing but time and id."""
    return f"{ERASED_STEM}_{_stamp(created_at)}_{file_id}"


def erased_sidecar_path(file_id: str) -> str | None:
    """Where the sidecar lies that says that a file was erased; None when the id does not tell."""
    try:
        created_at = time_of(file_id)
    except (ValueError, OverflowError):
        return None
    return sidecar_path(folder_of(created_at), erased_filename(created_at, file_id))


def _stamp(created_at: datetime) -> str:
    at = created_at.astimezone(UTC)
    return f"{at.year:04}{at.month:02}{at.day:02}T{at.hour:02}{at.minute:02}{at.second:02}"


def folder_of(created_at: datetime) -> str:
    """The folder `YYYY/MM/DD/HH` (UTC) of files made at `created_at`."""
    at = created_at.astimezone(UTC)
    return f"{at.year:04}/{at.month:02}/{at.day:02}/{at.hour:02}"


def home_of(file_id: str) -> str | None:
    """The folder that the id's time names, None if it names none."""
    try:
        return _folder_of_hour(milliseconds_of(file_id) // (1000 * _HOUR_SECONDS))
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def _folder_of_hour(hours: int) -> str:
    return folder_of(datetime.fromtimestamp(hours * _HOUR_SECONDS, UTC))


def is_folder(path: str) -> bool:
    """Whether `path` has the form `YYYY/MM/DD/HH`."""
    return _FOLDER.fullmatch(path) is not None


def blob_path(storage_path: str, storage_filename: str) -> str:
    """Path of the blob, relative to the element's root."""
    return f"{storage_path}/{storage_filename}" if storage_path else storage_filename


def sidecar_path(storage_path: str, storage_filename: str) -> str:
    """Path of the sidecar, relative to the element's root."""
    return blob_path(storage_path, storage_filename) + SIDECAR_SUFFIX


def is_sidecar_name(name: str) -> bool:
    """Whether a name (or path) is a sidecar's, in whatever case."""
    return name[-len(SIDECAR_SUFFIX) :].lower() == SIDECAR_SUFFIX


def blob_beside(path: str) -> str:
    """Path (or name) of the blob that a sidecar's path (or name) stands for."""
    return path[: -len(SIDECAR_SUFFIX)]


def split_sidecar_path(path: str) -> tuple[str, str]:
    """(storage_path, storage_filename) of a sidecar's path: undoes `sidecar_path`."""
    folder, _, name = blob_beside(path).rpartition("/")
    return folder, name


def file_id_in_name(name: str) -> str | None:
    """The file id in the name (or path) of a blob or sidecar, None when there is none.

    It is the last UUID: what users call their files may hold others, an extension is too
    short for one. It may stand there in upper case and is answered in lower case.
    """
    found = _UUID.findall(name.rpartition("/")[2])
    return found[-1].lower() if found else None


def _cut(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[:limit].decode(errors="ignore")

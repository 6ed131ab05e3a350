"""mesh.json: where a mesh is and who calls, as `make run` wrote it.

One that is only found may have been put there by somebody else, to get secrets or files.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artstore_client.errors import ConfigurationError
from artstore_client.ownership import is_trusted, others_may_write

MESH_FILE = Path(".artstore") / "mesh.json"


@dataclass(frozen=True, slots=True)
class MeshFile:
    """What a mesh.json says; nothing when there is none, or when it is not used.

    Attributes:
        folder: where it lies; paths in it begin there.
        unused: a sentence about one that was found and is not used, and what to do; "" if none.
    """

    content: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()
    unused: str = ""

    @property
    def endpoints(self) -> Mapping[str, Any]:
        """Servers by name, elements below `storage`."""
        places: Mapping[str, Any] = self.content.get("endpoints", {})
        return places


def named(path: Path) -> MeshFile:
    """The file that somebody named.

    Raises:
        ConfigurationError: it can't be read, or is no mesh.json.
    """
    return _read(path, path)


def found_from(start: Path) -> MeshFile:
    """The file in `start` or the nearest folder above it that has one.

    It is used if it and its folder belong to this account or to root, and nobody else can write
    to them.

    Raises:
        ConfigurationError: it can't be read, or is no mesh.json.
    """
    path = find(start)
    if path is None:
        return MeshFile()
    try:
        # Opened first: what is looked at is then what is read.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if doubt := _doubt(path):
            return _not_used(path, doubt)
        raise _unreadable(path, error) from error
    try:
        if doubt := _doubt(path) or _doubt_of(os.fstat(descriptor), path):
            return _not_used(path, doubt)
        return _read(path, descriptor)
    finally:
        os.close(descriptor)


def left_alone(start: Path, why: str) -> MeshFile:
    """Nothing of the file that `found_from` would use, but that there is one.

    Args:
        why: the reason, the end of a sentence.
    """
    path = find(start)
    return MeshFile() if path is None else _not_used(path, why)


def find(start: Path) -> Path | None:
    """`.artstore/mesh.json` in `start` or the nearest folder above it, None if there is none."""
    for folder in (start, *start.parents):
        candidate = folder / MESH_FILE
        try:
            if candidate.is_file():
                return candidate
        except PermissionError:
            # Whoever may not look there must be told why it does not count.
            return candidate
    return None


def _doubt(path: Path) -> str:
    """Why neither the file nor where it lies can be trusted; "" when they can."""
    for place in (path.parent, path):
        try:
            # A link, and what it leads to.
            doubt = _doubt_of(place.lstat(), place) or _doubt_of(place.stat(), place)
        except OSError as error:
            return f"{place} can't be looked at: {error.strerror}"
        if doubt:
            return doubt
    return ""


def _doubt_of(found: os.stat_result, place: Path) -> str:
    if not is_trusted(found):
        return f"{place} belongs to another account (uid {found.st_uid})"
    if not stat.S_ISLNK(found.st_mode) and others_may_write(found):
        return f"other accounts can write to {place} (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _not_used(path: Path, why: str) -> MeshFile:
    return MeshFile(
        unused=f"{path} was found and is not used: {why}. ARTSTORE_MESH={path} names it."
    )


def _read(path: Path, source: Path | int) -> MeshFile:
    try:
        with open(source, "rb", closefd=isinstance(source, Path)) as file:
            content = json.loads(file.read())
    except FileNotFoundError:
        raise ConfigurationError(
            f"mesh file {path} does not exist; start the mesh with `make run`"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise ConfigurationError(f"mesh file {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        content = {"endpoints": None}
    for name, optional in (("endpoints", {}), ("tls", None)):
        told = content.get(name, optional)
        if told is not optional and not isinstance(told, dict):
            raise ConfigurationError(f"mesh file {path} has no object `{name}`")
    return MeshFile(content, path.parent)


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"mesh file {path} can't be read: {error.strerror}")

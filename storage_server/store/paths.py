"""Paths of a store: relative, by `/`, and never out of the root."""

from __future__ import annotations

import re

from mesh.errors import InvalidArgument

ELEMENT_FILE = "element.json"
"""Read in any case, since tools change names; this one comes first and is the one written."""
LOCK_FILE = "element.lock"
STAGING = ".staging"
QUARANTINE = ".quarantine"
"""What nothing names any more and somebody may still want, with the file's id in its name; no
listing shows it.
"""

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def split(path: str) -> tuple[str, str]:
    """(folder, name) of a blob or sidecar; the folder of one at the root is empty.

    Raises:
        InvalidArgument: the path is empty, absolute, climbs, or has a part that begins with a
            dot: such a path was not made by this service.
    """
    check(path)
    folder, _, name = path.rpartition("/")
    return folder, name


def check(path: str) -> None:
    """Refuse a path that could leave the root; see `split`."""
    # As a look at each part, which would cost a rebuild as much as reading the file.
    outside = not path or path[0] in "/." or path[-1] == "/"
    if outside or "//" in path or "/." in path or "\0" in path:
        raise InvalidArgument(f"{path!r} is not a path of this store", field="path")


def check_key(key: str) -> None:
    """Refuse a stage's key that is not a plain name.

    Raises:
        InvalidArgument: it is empty, too long, begins with a dot or has odd characters.
    """
    if _KEY.fullmatch(key) is None:
        raise InvalidArgument(f"{key!r} is not the key of a stage", field="key")

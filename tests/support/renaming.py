"""What file systems and tools do to names that go through them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from storage_server.domain.naming import is_sidecar_name

Form = Callable[[str], str]


def _shortened(name: str) -> str:
    """As a tool does it that takes 128 characters: from the middle of what the user wrote."""
    return name[:3] + name[-100:] if len(name) > 103 else name[:1] + name[2:]


FORMS: dict[str, Form] = {
    "NFD": lambda name: unicodedata.normalize("NFD", name),
    "NFC": lambda name: unicodedata.normalize("NFC", name),
    "upper case": str.upper,
    "lower case": str.lower,
    "title case": str.title,
    "question marks": lambda name: name.encode("ascii", "replace").decode(),
    "underscores": lambda name: "".join(c if c.isascii() and c != " " else "_" for c in name),
    "no spaces and dots at the end": lambda name: name.rstrip(" ."),
    "shortened": _shortened,
}


def renamed(path: str, form: Form) -> str:
    """`path` with another form of its last part."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{form(name)}"


def only_blobs(form: Form) -> Form:
    return lambda name: name if is_sidecar_name(name) else form(name)


def only_sidecars(form: Form) -> Form:
    return lambda name: form(name) if is_sidecar_name(name) else name

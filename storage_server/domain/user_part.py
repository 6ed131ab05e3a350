"""What the user supplies of a sidecar, checked before any byte is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from mesh.content_type import MAX_CONTENT_TYPE_BYTES
from mesh.contract import DEFAULT_NAMESPACE, MAX_NAMESPACE_BYTES
from mesh.errors import InvalidArgument

MAX_USER_PART_BYTES = 3072
MAX_FILENAME_BYTES = 1024


def check_user_part(
    *,
    original_filename: str,
    content_type: str = "",
    description: str = "",
    version: str = "",
    tags: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    request_id: str = "",
) -> None:
    """Refuse what no sidecar should hold, before any byte is stored.

    The form of a content type is not looked at: older sidecars have other ones, and keep them.

    Raises:
        InvalidArgument: an empty name or one over 1,024 bytes, a content_type over 255 bytes,
            NUL or a lone surrogate in any text, a namespace that tokens cannot name, more than
            3,072 bytes in all (encoded, names of the fields included). `field` names the field,
            for the last the largest one.
    """
    part: dict[str, Any] = {
        "original_filename": original_filename,
        "content_type": content_type,
        "description": description,
        "version": version,
        "tags": list(tags),
        "attributes": dict(attributes or {}),
        "namespace": namespace,
        "request_id": request_id,
    }
    for name, value in part.items():
        _check_texts(name, value)
    if not original_filename.strip():
        raise InvalidArgument("original_filename is empty", field="original_filename")
    if len(original_filename.encode()) > MAX_FILENAME_BYTES:
        raise InvalidArgument(
            f"original_filename is longer than {MAX_FILENAME_BYTES} bytes",
            field="original_filename",
        )
    if len(content_type.encode()) > MAX_CONTENT_TYPE_BYTES:
        raise InvalidArgument(
            f"content_type is longer than {MAX_CONTENT_TYPE_BYTES} bytes", field="content_type"
        )
    _check_namespace(namespace)
    sizes = {name: len(orjson.dumps(value)) for name, value in part.items()}
    size = len(orjson.dumps(part))
    if size > MAX_USER_PART_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise InvalidArgument(
            f"what you supply is {size} bytes long, more than {MAX_USER_PART_BYTES}; "
            f"the largest field is {largest}",
            field=largest,
        )


def check_labels(
    tags: Iterable[str] | None = None, attributes: Mapping[str, str] | None = None
) -> None:
    """Refuse tags and keys of attributes that say nothing. Sidecars that have such stay readable.

    Raises:
        InvalidArgument: one is empty, or blanks only; `field` names which.
    """
    if any(not tag.strip() for tag in tags or ()):
        raise InvalidArgument("a tag is empty; leave it out", field="tags")
    if any(not key.strip() for key in attributes or ()):
        raise InvalidArgument("the key of an attribute is empty; name it", field="attributes")


def distinct(tags: Iterable[str]) -> tuple[str, ...]:
    """Each tag once, in the order in which they first appear."""
    return tuple(dict.fromkeys(tags))


def _check_texts(name: str, value: str | list[str] | dict[str, str]) -> None:
    if isinstance(value, str):
        texts: list[str] = [value]
    elif isinstance(value, list):
        texts = value
    else:
        texts = [*value.keys(), *value.values()]
    for text in texts:
        if "\0" in text:
            raise InvalidArgument(f"{name} holds NUL", field=name)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"{name} is no valid Unicode", field=name) from None


def _check_namespace(namespace: str) -> None:
    usable = namespace.strip() == namespace and namespace.isprintable() and "*" not in namespace
    if not namespace or not usable or len(namespace.encode()) > MAX_NAMESPACE_BYTES:
        raise InvalidArgument(
            f"namespace is 1 to {MAX_NAMESPACE_BYTES} bytes of printable text without `*`",
            field="namespace",
        )

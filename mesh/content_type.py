"""Media types as RFC 9110 writes them: `type/subtype; name=value`.

Kept with type, subtype and names of parameters in lower case, one space before each parameter;
found by `type/subtype` whatever the parameters.
"""

from __future__ import annotations

import re

from mesh.errors import InvalidArgument

MAX_CONTENT_TYPE_BYTES = 255

# Names as they may be registered (RFC 6838, 4.2); `*` is for filters only.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_PARAMETER = re.compile(rf" *; *(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?")


def canonical(content_type: str) -> str:
    """`TEXT/HTML;Charset=x` as `text/html; charset=x`. Idempotent.

    Raises:
        InvalidArgument: longer than 255 bytes, or no media type; `field` is `content_type`.
    """
    if len(content_type.encode("utf-8", "surrogatepass")) > MAX_CONTENT_TYPE_BYTES:
        raise InvalidArgument(
            f"content_type is longer than {MAX_CONTENT_TYPE_BYTES} bytes", field="content_type"
        )
    found = _MEDIA_TYPE.match(content_type)
    parts = [found.group().lower()] if found else []
    at = found.end() if found else 0
    while found and at < len(content_type):
        found = _PARAMETER.match(content_type, at)
        if found:
            at = found.end()
            if found[1]:
                parts.append(f"{found[1].lower()}={found[2]}")
    if not found:
        raise InvalidArgument(
            f"content_type {content_type[:100]!r} is no media type such as text/plain or"
            " text/html; charset=utf-8",
            field="content_type",
        )
    whole = "; ".join(parts)
    # The spaces that are added may be too many.
    return whole if len(whole) <= MAX_CONTENT_TYPE_BYTES else ";".join(parts)


def as_kept(content_type: str) -> str:
    """`canonical` of what an earlier version took as it came; what is no media type stays so."""
    try:
        return canonical(content_type)
    except InvalidArgument:
        return content_type


def folded(content_type: str) -> str:
    """Type and subtype in lower case, without parameters; whatever the text is."""
    return content_type.partition(";")[0].strip(" \t").lower()

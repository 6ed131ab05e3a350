"""Pages of lists: their sizes, and tokens that say where the next one begins."""

from __future__ import annotations

import base64
import binascii
import json

from mesh.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_TOKEN_CHARACTERS = 2048

Key = tuple[str | int, ...]


def page_size_of(requested: int) -> int:
    """Entries on a page: 100 when 0 is asked for, never more than 1,000.

    Raises:
        InvalidArgument: it is negative.
    """
    if requested < 0:
        raise InvalidArgument("page_size must not be negative", field="page_size")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode_page_token(listing: str, *key: str | int) -> str:
    """The token of the page after the entry with that sort key, in the list of that name."""
    text = json.dumps([listing, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_page_token(listing: str, token: str, *types: type[str] | type[int]) -> Key | None:
    """The sort key in a token; None for an empty token, the first page.

    Args:
        listing: name of the list, as given to `encode_page_token`.
        token: as the caller sent it.
        types: what the parts of the sort key must be.

    Raises:
        InvalidArgument: it is not a token of this list.
    """
    if not token:
        return None
    wrong = InvalidArgument("page_token is not a token of this list", field="page_token")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise wrong
    try:
        padded = token + "=" * (-len(token) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise wrong from exc
    if not isinstance(found, list) or len(found) != len(types) + 1 or found[0] != listing:
        raise wrong
    key = tuple(found[1:])
    if not all(_is_part(part, kind) for part, kind in zip(key, types, strict=True)):
        raise wrong
    return key


def _is_part(part: object, kind: type[str] | type[int]) -> bool:
    """Whether it is of that type, and the database can take it."""
    if type(part) is not kind:
        return False
    return part.isprintable() if isinstance(part, str) else abs(int(str(part))) < 2**31

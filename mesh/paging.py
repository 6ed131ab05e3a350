"""Pages of lists: how many entries, and the opaque token that says after which one they begin.

A token holds the sort key of the last entry that was told, under a seal over that, the version of
its form, and what it was made for: the list, and whatever the request chooses from it. One that
was altered, belongs to another request or comes from an older server is refused, and the list is
begun anew. It is no secret and not signed: who makes one up sees nothing that another page would
not show. So whatever is read from one is checked before a database gets it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import orjson

from mesh.contract import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from mesh.errors import InvalidArgument

VERSION = 1
MAX_TOKEN_CHARACTERS = 16 * 1024
_SEAL_BYTES = 8

T = TypeVar("T")
Kind = type[str] | type[int] | type[datetime]


class ListRequest(Protocol):
    """What every request of a list has."""

    page_size: int
    page_token: str


def page_size_of(requested: int, *, default: int = DEFAULT_PAGE_SIZE) -> int:
    """Entries on a page: `default` when 0 is asked for, never more than 1,000.

    Raises:
        InvalidArgument: it is negative.
    """
    if requested < 0:
        raise InvalidArgument("page_size must not be negative", field="page_size")
    return min(requested or default, MAX_PAGE_SIZE)


def encode(made_for: Sequence[object], content: Sequence[object]) -> str:
    """The token that holds `content`, texts, numbers and times, for requests like this one.

    Args:
        made_for: the list's name and what the request chooses from it, as plain values.
    """
    packed = orjson.dumps(list(content))
    return base64.urlsafe_b64encode(_seal(made_for, packed) + packed).decode().rstrip("=")


def decode(made_for: Sequence[object], token: str) -> list[Any]:
    """Undo `encode`; times are texts now.

    Raises:
        InvalidArgument: field `page_token`; it is not one that `encode` made for the same.
    """
    try:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError("too long")
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        seal, packed = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
        content = orjson.loads(packed)
        if seal != _seal(made_for, packed) or not isinstance(content, list):
            raise ValueError("made for something else")
        # Else the bits that base64 leaves over could be anything.
        if base64.urlsafe_b64encode(sealed).decode().rstrip("=") != token:
            raise ValueError("not as it was made")
    except (ValueError, binascii.Error) as error:
        raise wrong_token() from error
    return content


def wrong_token() -> InvalidArgument:
    """What is said of a token that cannot be used, for whatever reason."""
    return InvalidArgument(
        "page_token is not one of this list, as this request asks for it: send that of the page"
        " before, with the rest of the request unchanged, or leave it empty to begin anew",
        field="page_token",
    )


def _seal(made_for: Sequence[object], packed: bytes) -> bytes:
    bound = repr((VERSION, *made_for)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(bound + b"\0" + packed, digest_size=_SEAL_BYTES).digest()


@dataclass(frozen=True, slots=True)
class AskedPage:
    """The page of a list that a request asks for.

    Attributes:
        size: how many entries, 1 to 1,000.
        after: sort key of the last entry told; None for the first page.
        made_for: see `encode`.
    """

    size: int
    after: tuple[Any, ...] | None
    made_for: Sequence[object]

    @classmethod
    def of(cls, request: ListRequest, made_for: Sequence[object], *kinds: Kind) -> AskedPage:
        """What a request asks for.

        Args:
            kinds: the types of the sort key's parts; an int has 32 bits, a time is UTC.

        Raises:
            InvalidArgument: page_size or page_token.
        """
        return cls.read(request.page_size, request.page_token, made_for, *kinds)

    @classmethod
    def read(
        cls, page_size: int, page_token: str, made_for: Sequence[object], *kinds: Kind
    ) -> AskedPage:
        """The same of the two fields."""
        size = page_size_of(page_size)
        if not page_token:
            return cls(size, None, made_for)
        content = decode(made_for, page_token)
        try:
            after = tuple(_READ[kind](part) for kind, part in zip(kinds, content, strict=True))
        except (TypeError, ValueError, OverflowError) as error:
            raise wrong_token() from error
        return cls(size, after, made_for)

    def page(
        self, following: Sequence[T], key: Callable[[T], tuple[object, ...]]
    ) -> tuple[Sequence[T], str]:
        """(the page, the token of the next one or an empty text).

        Args:
            following: entries after `after`, in order, at least one more than `size` if there are.
            key: the sort key of an entry.
        """
        page = following[: self.size]
        return page, encode(self.made_for, key(page[-1])) if len(following) > self.size else ""

    def page_of_all(
        self,
        entries: Iterable[T],
        key: Callable[[T], tuple[Any, ...]],
        *,
        descending: bool = False,
    ) -> tuple[Sequence[T], str]:
        """The same of `entries` in any order, told and not told: all there are now.

        Args:
            key: the sort key of an entry, which no other has and which never changes, so that
                what comes and goes between two pages doubles or hides nothing else.
            descending: the largest key is told first.
        """
        after, rest = self.after, sorted(entries, key=key, reverse=descending)
        if after is not None:
            rest = [e for e in rest if (key(e) < after if descending else key(e) > after)]
        return self.page(rest, key)


def _text(part: object) -> str:
    if not isinstance(part, str) or "\0" in part:
        raise ValueError("not a text that a database takes")
    return part


def _number(part: object) -> int:
    if type(part) is not int or abs(part) >= 2**31:
        raise ValueError("not a number of 32 bits")
    return part


def moment(part: object) -> datetime:
    """A time of a token, in UTC. Raises TypeError, ValueError or OverflowError for none."""
    if not isinstance(part, str):
        raise TypeError("not a time")
    found = datetime.fromisoformat(part)
    if found.tzinfo is None:
        raise ValueError("a time without its zone")
    return found.astimezone(UTC)


_READ: dict[Kind, Callable[[object], Any]] = {str: _text, int: _number, datetime: moment}

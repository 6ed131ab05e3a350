"""Lists that come in pages, from one server or from every element."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from artstore_client import errors


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


Page = TypeVar("Page", bound=_Page)
Item = TypeVar("Item")


async def pages(ask: Callable[[str], Awaitable[Page]]) -> AsyncGenerator[Page, None]:
    """All pages of a list.

    Args:
        ask: for the page of that token, empty for the first one.
    """
    token = ""
    while True:
        page = await ask(token)
        yield page
        token = page.next_page_token
        if not token:
            return


async def of_each(
    element_ids: Iterable[str], list_one: Callable[[str], AsyncGenerator[Item, None]]
) -> AsyncGenerator[Item, None]:
    """What each of these elements has, one after the other.

    Raises:
        Unavailable: reason LIST_INCOMPLETE, after what the elements have that answer.
    """
    failures: dict[str, errors.Unavailable] = {}
    for element_id in element_ids:
        try:
            async for item in list_one(element_id):
                yield item
        except errors.Unavailable as error:
            failures[element_id] = error
    if failures:
        told = "; ".join(f"{name}: {error.message}" for name, error in failures.items())
        raise errors.Unavailable(
            f"the list is incomplete ({told})",
            reason="LIST_INCOMPLETE",
            metadata={"storage_element_ids": ",".join(failures)},
        )

"""Lists that admin answers, asked for with a server's own token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc.aio

from mesh.calls.status import from_rpc_error
from mesh.errors import Unauthenticated
from mesh.identity.credentials import ServiceToken


class _Request(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


Page = TypeVar("Page", bound=_Page)


async def pages(
    method: Callable[..., Awaitable[Page]],
    request: _Request,
    account: ServiceToken,
    *,
    seconds: float,
) -> AsyncGenerator[Page, None]:
    """All pages of a list.

    Args:
        method: of a stub of admin.
        request: for the first page; its token moves on.
        account: this server's own token; told when admin does not take it.
        seconds: for each page.

    Raises:
        ArtStoreError: admin is down or silent, does not take the token, or gave none.
    """
    while True:
        metadata: Any = account.metadata()
        try:
            page = await method(request, metadata=metadata, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            refused = from_rpc_error(error)
            if isinstance(refused, Unauthenticated):
                account.refused()
            raise refused from error
        yield page
        request.page_token = page.next_page_token
        if not request.page_token:
            return

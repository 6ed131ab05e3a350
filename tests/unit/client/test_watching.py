"""A watch of an operation goes on when its token ends, and only then."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from artstore.v1 import operations_pb2
from artstore_client import errors
from artstore_client.cache import CacheCalls

EXPIRED = errors.Unauthenticated("the token has expired", reason="TOKEN_EXPIRED")
SUSPENDED = errors.Unauthenticated("suspended", reason="ACCOUNT_SUSPENDED")


class Connection:
    """Streams in order: each a list of progress, and what it ends with."""

    def __init__(self, *streams: tuple[list[int], Exception | None]) -> None:
        self.streams = list(streams)
        self.asked: list[str] = []
        self.calls = self
        self.timeouts = SimpleNamespace(operation=1.0)

    async def operations(self, element_id: str) -> Any:
        return SimpleNamespace(WatchOperation=None)

    async def stream(
        self, method: Any, request: operations_pb2.WatchOperationRequest, **_: Any
    ) -> AsyncGenerator[operations_pb2.WatchOperationResponse, None]:
        self.asked.append(request.operation_id)
        told, error = self.streams.pop(0)
        for done in told:
            operation = operations_pb2.Operation(operation_id="op-7", done=done)
            yield operations_pb2.WatchOperationResponse(operation=operation)
        if error is not None:
            raise error


async def watched(*streams: tuple[list[int], Exception | None]) -> tuple[list[int], list[str]]:
    connection: Any = Connection(*streams)
    seen = [one.done async for one in CacheCalls(connection, "se-01").watch()]
    return seen, connection.asked


async def test_it_is_opened_again_for_the_same_operation_when_its_token_ends() -> None:
    seen, asked = await watched(([1, 2], EXPIRED), ([2, 3], EXPIRED), ([4], None))
    assert seen == [1, 2, 2, 3, 4]
    assert asked == ["", "op-7", "op-7"]


@pytest.mark.parametrize(
    ("told", "error"),
    [([1], SUSPENDED), ([], EXPIRED)],
    ids=["suspended", "refused at once"],
)
async def test_it_ends_when_no_new_token_would_help(told: list[int], error: Exception) -> None:
    with pytest.raises(errors.Unauthenticated):
        await watched((told, error))

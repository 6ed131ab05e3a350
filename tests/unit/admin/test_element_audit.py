"""What an element's audit does when the stream that it reads ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from admin_server.audit import following
from admin_server.audit.following import ElementAudit
from mesh.calls.status import to_trailing_metadata
from mesh.elements.feed_cursor import FeedCursor
from mesh.errors import Unauthenticated


class Cursors:
    async def lead(self, element_id: str, *, seconds: float) -> FeedCursor:
        return FeedCursor("e", 1, "c")


class Stub:
    """Its stream ends at once with what a server says when a token has expired."""

    def __init__(self) -> None:
        self.opened = 0
        self.twice = asyncio.Event()

    def WatchChanges(self, request: Any, metadata: Any) -> Stub:
        self.opened += 1
        if self.opened == 2:
            self.twice.set()
        return self

    def __aiter__(self) -> Stub:
        return self

    async def __anext__(self) -> Any:
        ended = Unauthenticated("the access token has expired", reason="TOKEN_EXPIRED")
        metadata = grpc.aio.Metadata(*to_trailing_metadata(ended))
        code = grpc.StatusCode.UNAUTHENTICATED
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, ended.message)

    def cancel(self) -> None: ...


@pytest.mark.parametrize(("calm", "refused"), [(-1.0, []), (10.0, ["se-01"])])
async def test_a_stream_that_lived_as_long_as_its_token_is_opened_again_and_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, calm: float, refused: list[str]
) -> None:
    monkeypatch.setattr(following, "CALM_SECONDS", calm)
    told, stub = list[str](), Stub()

    async def metadata(element_id: str) -> tuple[tuple[str, str], ...]:
        return ()

    audit = ElementAudit(
        "se-01",
        stub,  # type: ignore[arg-type]
        Cursors(),  # type: ignore[arg-type]
        metadata=metadata,
        refused=told.append,
    )
    running = asyncio.create_task(audit.run())
    await asyncio.wait_for(stub.twice.wait(), 5)
    running.cancel()
    await asyncio.wait([running])
    assert told == refused

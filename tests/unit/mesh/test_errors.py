"""What a call ends with when writing to its client fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from mesh.server.interceptors import errors
from mesh.server.interceptors.wrapping import Call


class Context:
    """As much of a servicer context as a failed write touches."""

    def __init__(self) -> None:
        self.over = False
        self.status: grpc.StatusCode | None = None
        self._callbacks: list[Callable[[Any], None]] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        self.over = True
        for callback in self._callbacks:
            callback(self)

    def done(self) -> bool:
        return self.over

    def cancelled(self) -> bool:
        return False

    async def abort(self, code: grpc.StatusCode, *_: Any, **__: Any) -> None:
        self.status = code


async def write_fails(call: Call, request: Any) -> None:
    raise grpc.aio.InternalError("Failed execute_batch")


def call_of(context: Context) -> Call:
    return Call("/artstore.v1.StorageService/Download", context, request_streaming=False)  # type: ignore[arg-type]


async def test_a_client_whose_leaving_is_told_after_the_failed_write_is_no_error() -> None:
    context = Context()
    with capture_logs() as logged:
        ending = asyncio.ensure_future(
            errors.turn_errors_into_statuses(call_of(context), None, proceed=write_fails)
        )
        await asyncio.sleep(0)
        assert not ending.done()
        context.end()
        with pytest.raises(asyncio.CancelledError):
            await ending
    assert not logged
    assert context.status is None


async def test_a_write_that_fails_while_the_client_is_there_is_unforeseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errors, "END_SECONDS", 0.01)
    context = Context()
    with capture_logs() as logged:
        await errors.turn_errors_into_statuses(call_of(context), None, proceed=write_fails)
    assert [line["log_level"] for line in logged] == ["error"]
    assert context.status is grpc.StatusCode.INTERNAL

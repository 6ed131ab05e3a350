"""Exceptions become statuses here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import grpc
import structlog

from mesh.calls.draining import drain
from mesh.calls.status import (
    INTERNAL_TEXT,
    UNFORESEEN,
    from_rpc_error,
    rule_for,
    to_trailing_metadata,
)
from mesh.contract import REQUEST_ID_KEY
from mesh.errors import ArtStoreError, Unimplemented
from mesh.redaction import without_quotes
from mesh.server.interceptors.wrapping import Call, Proceed

# Before a refusal the client's stream is read on for a little: `draining` says why.
DRAIN_BYTES = 8 * 1024 * 1024
DRAIN_SECONDS = 2.0
DRAIN_PAUSE_SECONDS = 0.06
END_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


async def turn_errors_into_statuses(call: Call, request: Any, *, proceed: Proceed) -> Any:
    """End the call with the status of whatever was raised inside."""
    try:
        return await proceed(call, request)
    except (asyncio.CancelledError, grpc.aio.AbortError):
        raise
    except ArtStoreError as exc:
        error = exc
    except grpc.aio.AioRpcError as exc:
        error = from_rpc_error(exc)
        error.__cause__ = exc
    except NotImplementedError:
        # What generated servicers raise in methods that nobody has filled.
        error = Unimplemented("this server does not offer the call")
    except (grpc.aio.InternalError, grpc.aio.UsageError) as exc:
        # Writing to a client that left raises this; the call is over either way.
        if await _client_is_gone(call):
            raise asyncio.CancelledError from exc
        return await _abort_unforeseen(call, exc)
    except Exception as exc:
        return await _abort_unforeseen(call, exc)
    rule = rule_for(error)
    call.cause = _cause_of(error)
    message = error.message.encode("utf-8", "replace").decode()
    trailing = to_trailing_metadata(error)
    return await _abort(call, rule.code, message, level=rule.level, trailing=trailing)


def _cause_of(error: ArtStoreError) -> str:
    """What lies behind `error`: for the log only, it may name addresses and queries."""
    cause = error.__cause__
    if isinstance(cause, grpc.aio.AioRpcError):
        return f"{cause.code().name}: {without_quotes(cause.details() or '')}"
    if cause is None:
        return ""
    # Behind its first line PostgreSQL shows values.
    said = str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {without_quotes(said)}"


async def _client_is_gone(call: Call) -> bool:
    """Whether the call is over; its end may be told after the write that failed of it, and
    then mostly by cancelling this task.
    """
    # The stubs want an instance of a class of theirs for a callback.
    context: Any = call.context
    ended = asyncio.Event()
    context.add_done_callback(lambda _: ended.set())
    if not (context.cancelled() or context.done()):
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await ended.wait()
    return bool(context.cancelled() or context.done())


async def _abort_unforeseen(call: Call, error: Exception) -> None:
    _log.error("unforeseen exception", method=call.method, exc_info=error)
    await _abort(call, UNFORESEEN.code, INTERNAL_TEXT, level=logging.INFO, trailing=())


async def _abort(
    call: Call,
    code: grpc.StatusCode,
    message: str,
    *,
    level: int,
    trailing: tuple[tuple[str, bytes], ...],
) -> None:
    call.code, call.details, call.level = code, without_quotes(message), level
    broken = call.cut or call.messages.stuck
    if call.request_streaming and not call.messages.stuck:
        await drain(
            call.messages.rest,
            seconds=DRAIN_SECONDS,
            silence_seconds=DRAIN_PAUSE_SECONDS,
            most_bytes=DRAIN_BYTES,
        )
    ending = call.context.abort(
        code, message[:1024], trailing_metadata=((REQUEST_ID_KEY, call.request_id), *trailing)
    )
    try:
        async with asyncio.timeout(END_SECONDS if broken else None):
            await ending
    except (TimeoutError, grpc.aio.InternalError):
        if not broken:
            raise
        # The client does not take what was sent before, or has left: without a status the call is
        # broken off.
        raise asyncio.CancelledError from None

"""One way to stand around all four kinds of gRPC handlers.

Each handler is wrapped once, when its method is first called. Whatever its shape, it becomes
one coroutine: a response stream is written with `context.write`, so that a client that went
away raises inside the handler, and an async generator is closed in the task that ran it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol, cast

import grpc
from google.protobuf.message import DecodeError

from mesh.concurrency.watched import seen
from mesh.errors import InvalidArgument
from mesh.identity.caller import ANONYMOUS, Caller

Context = grpc.aio.ServicerContext[Any, Any]


class Call:
    """One call in progress; the interceptors share what they learn about it here."""

    __slots__ = (
        "caller",
        "cause",
        "code",
        "context",
        "cut",
        "details",
        "level",
        "metadata",
        "method",
        "peer",
        "repeated",
        "request_id",
        "request_streaming",
        "started",
    )

    def __init__(self, method: str, context: Context, *, request_streaming: bool) -> None:
        self.method = method
        self.context = context
        self.request_streaming = request_streaming
        sent = tuple(context.invocation_metadata() or ())
        self.metadata: dict[str, Any] = dict(sent)
        # Keys that were sent more than once.
        self.repeated = _NONE if len(sent) == len(self.metadata) else _repeated(sent)
        self.started = time.perf_counter()
        self.request_id = ""
        self.caller: Caller = ANONYMOUS
        self.peer: Caller = ANONYMOUS
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.cause = ""
        self.level = 0
        # Whether it was ended from outside, in the midst of whatever it did.
        self.cut = False

    def status_code(self) -> grpc.StatusCode:
        """The status that the call ends with, as far as it is known."""
        if self.code is not None:
            return self.code
        return _CODES.get(self.context.code(), grpc.StatusCode.OK)


_NONE: frozenset[str] = frozenset()


def _repeated(sent: tuple[Any, ...]) -> frozenset[str]:
    counted = Counter(key for key, _ in sent)
    return frozenset(key for key, count in counted.items() if count > 1)


_CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode} | {
    code: code for code in grpc.StatusCode
}

Proceed = Callable[[Call, Any], Awaitable[Any]]


class Interceptor(Protocol):
    """Runs around a call: `return await proceed(call, request)` at its heart."""

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Answer the response of a unary call, None for a response stream."""


class Interceptors(grpc.aio.ServerInterceptor):
    """Applies a sequence of interceptors, outermost first, to every method of a server."""

    def __init__(self, interceptors: Sequence[Interceptor]) -> None:
        self._interceptors = tuple(interceptors)
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Answer the wrapped handler; None, a method that is not served, stays None."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = self._wrap(method, handler)
        self._wrapped[method] = (handler, wrapped)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        request_streaming = bool(handler.request_streaming)
        response_streaming = bool(handler.response_streaming)
        behaviour = _behaviour_of(handler)
        proceed: Proceed = partial(_write_responses if response_streaming else _answer, behaviour)
        for interceptor in reversed(self._interceptors):
            proceed = partial(interceptor, proceed=proceed)

        async def handle(request: Any, context: Context) -> Any:
            if request_streaming:
                # Whatever else is asked of it, the context itself answers.
                context = cast(Context, _PatientContext(context))
                request = _requests_of(context)
            return await proceed(
                Call(method, context, request_streaming=request_streaming), request
            )

        make = _MAKERS[request_streaming, response_streaming]
        return make(
            handle,
            request_deserializer=_careful(
                handler.request_deserializer, request_streaming=request_streaming
            ),
            response_serializer=handler.response_serializer,
        )


class _PatientContext:
    """A context whose `read` may be cut off: what it would have answered the next one answers.

    grpc loses the message of a read that is cancelled, and takes no other read until it has come.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reading: asyncio.Future[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """The next message, or EOF."""
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.ensure_future(self._context.read())
            reading.add_done_callback(seen)
        try:
            message = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.cancelled():
                self._reading = None
            raise
        except BaseException:
            self._reading = None
            raise
        self._reading = None
        return message


async def _requests_of(context: Context) -> AsyncIterator[Any]:
    while (message := await context.read()) is not grpc.aio.EOF:
        yield message


_MAKERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _behaviour_of(handler: Any) -> Callable[[Any, Any], Any]:
    behaviour = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if behaviour is None:
        raise TypeError(f"handler without a behaviour: {handler!r}")
    return behaviour  # type: ignore[no-any-return]


class _Unreadable:
    """Stands for a request that is no message of its type, until the caller is known."""


_UNREADABLE = _Unreadable()


def _careful(
    deserialize: Callable[[bytes], Any] | None, *, request_streaming: bool
) -> Callable[[bytes], Any] | None:
    """`deserialize` whose errors are those of the call, not of the server.

    gRPC reads a unary request before any interceptor runs, and would answer UNKNOWN with the
    exception's text, to anybody.
    """
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as exc:
            if request_streaming:
                raise _unreadable() from exc
            return _UNREADABLE

    return read


def _unreadable() -> InvalidArgument:
    return InvalidArgument("the message cannot be read: it is not of the type of this call")


def _require_readable(request: Any) -> None:
    if request is _UNREADABLE:
        raise _unreadable()


async def _answer(behaviour: Callable[[Any, Any], Any], call: Call, request: Any) -> Any:
    _require_readable(request)
    result = behaviour(request, call.context)
    return await result if isawaitable(result) else result


async def _write_responses(behaviour: Callable[[Any, Any], Any], call: Call, request: Any) -> None:
    _require_readable(request)
    result = behaviour(request, call.context)
    if isawaitable(result):
        await result
        return
    responses: AsyncIterator[Any] = result
    write = call.context.write
    try:
        async for response in responses:
            await write(response)
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()

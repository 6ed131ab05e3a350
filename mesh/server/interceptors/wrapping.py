"""One way to stand around all four kinds of gRPC handlers.

Each handler is wrapped once, when its method is first called. Whatever its shape, it becomes
one coroutine that reads its requests itself (`messages.py`): a response stream is written with
`context.write`, so that a client that went away raises inside the handler, and an async generator
is closed in the task that ran it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol

import grpc

from mesh.file_ids import canonical_file_id, is_file_id
from mesh.identity.call_limits import LimitTable, MethodLimits
from mesh.identity.caller import ANONYMOUS, Caller
from mesh.server.interceptors.messages import Context, Messages


class Call:
    """One call in progress; the interceptors share what they learn about it here."""

    __slots__ = (
        "caller",
        "cause",
        "code",
        "context",
        "cut",
        "details",
        "file_id",
        "level",
        "messages",
        "metadata",
        "method",
        "peer",
        "repeated",
        "request_id",
        "request_streaming",
        "started",
    )

    def __init__(
        self,
        method: str,
        context: Context,
        *,
        request_streaming: bool,
        messages: Messages | None = None,
    ) -> None:
        self.method = method
        self.context = context
        self.messages = messages or Messages(context, None, MethodLimits())
        self.request_streaming = request_streaming
        sent = tuple(context.invocation_metadata() or ())
        self.metadata: dict[str, Any] = dict(sent)
        # Keys that were sent more than once.
        self.repeated = _NONE if len(sent) == len(self.metadata) else _repeated(sent)
        self.started = time.perf_counter()
        self.request_id = ""
        # The one file that the request is about.
        self.file_id = ""
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
    """Runs around a call: `return await proceed(call, request)` at its heart.

    `request` stands for what has not been read yet: the handler's side of `messages.py`.
    """

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Answer the response of a unary call, None for a response stream."""


class Interceptors(grpc.aio.ServerInterceptor):
    """Applies a sequence of interceptors, outermost first, to every method of a server.

    Args:
        limits: what messages keep to; unset: the defaults.
    """

    def __init__(
        self, interceptors: Sequence[Interceptor], limits: LimitTable | None = None
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._limits = LimitTable() if limits is None else limits
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
        limits, parse = self._limits.of(method), handler.request_deserializer
        behaviour = _behaviour_of(handler)
        proceed: Proceed = partial(_write_responses if response_streaming else _answer, behaviour)
        for interceptor in reversed(self._interceptors):
            proceed = partial(interceptor, proceed=proceed)

        async def handle(_: Any, context: Context) -> Any:
            messages = Messages(context, parse, limits)
            call = Call(method, context, request_streaming=request_streaming, messages=messages)
            return await proceed(call, messages)

        make: Callable[..., Any] = (
            grpc.stream_stream_rpc_method_handler
            if response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(handle, response_serializer=handler.response_serializer)


def _behaviour_of(handler: Any) -> Callable[[Any, Any], Any]:
    behaviour = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if behaviour is None:
        raise TypeError(f"handler without a behaviour: {handler!r}")
    return behaviour  # type: ignore[no-any-return]


def file_of(message: Any) -> str:
    """The id of the one file that a request or response is about; empty when there is none, or
    what stands there is no id.
    """
    for part in (message, getattr(message, "condition", None), getattr(message, "file", None)):
        written = getattr(part, "file_id", "")
        if written and is_file_id(written):
            return canonical_file_id(written)
    return ""


async def _begin(behaviour: Callable[[Any, Any], Any], call: Call, messages: Messages) -> Any:
    """What `behaviour` answers. Nothing here holds the request while it works."""
    if call.request_streaming:
        return behaviour(messages.all(), messages)
    request = await messages.one()
    call.file_id = file_of(request)
    return behaviour(request, messages)


async def _answer(behaviour: Callable[[Any, Any], Any], call: Call, messages: Messages) -> Any:
    result = await _begin(behaviour, call, messages)
    return await result if isawaitable(result) else result


async def _write_responses(
    behaviour: Callable[[Any, Any], Any], call: Call, messages: Messages
) -> None:
    result = await _begin(behaviour, call, messages)
    if isawaitable(result):
        await result
        return
    responses: AsyncIterator[Any] = result
    write = messages.write
    try:
        async for response in responses:
            await write(response)
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()

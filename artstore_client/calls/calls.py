"""Every call passes here: bearer token, deadline, cancel at the end, statuses to exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from artstore_client import errors
from artstore_client.calls import tls_errors
from artstore_client.calls.retry import Patience
from artstore_client.calls.waiting import Waits
from artstore_client.calls.watchdog import IdleWatchdog
from artstore_client.contract import AUTHORIZATION_KEY, UPLOAD_TOKEN_KEY
from artstore_client.settings import TlsFiles

Request = TypeVar("Request")
Response = TypeVar("Response")

MetadataPairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Patience of a client, all in seconds.

    Attributes:
        call: deadline of a short unary call (10).
        commit: longest silence while a server stores or verifies a whole file (300).
        idle: longest silence of a stream; there is no total deadline on streams (30).
        operation: deadline of a check, rebuild, cleanup or sync (3,600). The server goes on
            when it passes.
        retry_for: how long an upload or download is tried again without any progress (120).
    """

    call: float = 10.0
    commit: float = 300.0
    idle: float = 30.0
    operation: float = 3600.0
    retry_for: float = 120.0


class TokenSource(Protocol):
    """Where bearer tokens come from."""

    async def get(self) -> str:
        """A token that is good now."""

    def refuse(self, token: str) -> None:
        """A server did not take it."""


class Calls:
    """Makes calls with one account's token.

    Args:
        about_proxy: a sentence about the proxy to the servers, "" if there is none.
        tls: with what servers are verified; None: plain text.

    Attributes:
        waits: what is waited for at the moment.
    """

    def __init__(
        self,
        tokens: TokenSource,
        timeouts: Timeouts,
        *,
        about_proxy: Callable[[], str] = lambda: "",
        tls: TlsFiles | None = None,
    ) -> None:
        self.timeouts = timeouts
        self.waits = Waits()
        self._tokens = tokens
        self._about_proxy = about_proxy
        self._tls = tls

    def patience(self) -> Patience:
        """How long one transfer is tried again."""
        return Patience(self.timeouts.retry_for, waits=self.waits)

    def error(self, error: grpc.aio.AioRpcError, doing: str) -> errors.ArtStoreError:
        """The exception for a call that ended with `error`."""
        failed = None
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            failed = tls_errors.meaning(error.details() or "", self._tls)
        if failed is not None:
            kind = errors.NotTrusted if failed.certain else errors.Unavailable
            return kind(f"{doing}: {failed.message}. {self._about_proxy()}".rstrip())
        return errors.from_rpc_error(error, doing=doing, about_proxy=self._about_proxy())

    async def metadata(self, upload_token: str = "") -> tuple[tuple[str, str], ...]:
        """Metadata of a call, with the secret of an upload if there is one."""
        pairs = [(AUTHORIZATION_KEY, f"Bearer {await self._tokens.get()}")]
        if upload_token:
            pairs.append((UPLOAD_TOKEN_KEY, upload_token))
        return tuple(pairs)

    def refuse_token(self, metadata: MetadataPairs) -> None:
        """Tell that a server did not take the bearer token of `metadata`."""
        self._tokens.refuse(dict(metadata)[AUTHORIZATION_KEY].removeprefix("Bearer "))

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        doing: str,
        upload_token: str = "",
        timeout_seconds: float | None = None,
    ) -> Response:
        """Call `method`; a token that is refused is renewed once.

        Args:
            doing: the call and its server, for messages: "GetFile on se-01".
            timeout_seconds: default `Timeouts.call`.

        Raises:
            ArtStoreError: the kind that mirrors the status.
        """
        timeout = self.timeouts.call if timeout_seconds is None else timeout_seconds
        metadata = await self.metadata(upload_token)
        try:
            return await self.answered(method(request, metadata=metadata, timeout=timeout), doing)
        except errors.Unauthenticated:
            self.refuse_token(metadata)
            renewed = await self.metadata(upload_token)
            if renewed == metadata:
                raise
        return await self.answered(method(request, metadata=renewed, timeout=timeout), doing)

    async def answered(self, call: Awaitable[Response], doing: str) -> Response:
        """Await a unary call, and cancel it if the waiting is cancelled."""
        with self.waits.on(doing):
            try:
                return await call
            except grpc.aio.AioRpcError as error:
                raise self.error(error, doing) from error

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        doing: str,
        idle_seconds: float | None = None,
    ) -> AsyncGenerator[Response, None]:
        """The answers of `method`, as they come; leaving the loop cancels the call.

        Close it (`contextlib.aclosing`) when it may be left early.

        Args:
            idle_seconds: longest wait for the next answer; default `Timeouts.idle`.

        Raises:
            ArtStoreError: the kind that mirrors the status; DeadlineExceeded after silence.
        """
        idle = self.timeouts.idle if idle_seconds is None else idle_seconds
        metadata = await self.metadata()
        call = method(request, metadata=metadata)
        watchdog = IdleWatchdog(call.cancel, idle)
        try:
            answers = aiter(call)
            while (answer := await self._next(answers, watchdog, doing)) is not None:
                watchdog.pause()
                yield answer
                watchdog.touch()
        except errors.Unauthenticated:
            self.refuse_token(metadata)
            raise
        finally:
            watchdog.close()
            call.cancel()

    async def _next(
        self, answers: AsyncIterator[Response], watchdog: IdleWatchdog, doing: str
    ) -> Response | None:
        with self.waits.on(doing):
            try:
                return await anext(answers, None)
            except grpc.aio.AioRpcError as error:
                raise self.error(error, doing) from error
            except asyncio.CancelledError:
                watchdog.raise_if_fired(doing)
                raise

"""The server's own access tokens, renewed before they end: for admin, and for each element."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

import structlog

from mesh.concurrency.backoff import Backoff
from mesh.concurrency.bell import Bell
from mesh.concurrency.watched import cancel_and_wait, telling
from mesh.contract import AUTHORIZATION_KEY, CALLER_KEY, UPLOAD_TOKEN_KEY
from mesh.errors import ArtStoreError, Unavailable
from mesh.identity.caller import Caller
from mesh.identity.tokens import audience_of

FIRST_RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 5.0
# Renewed after this share of its life, so admin may be away for the rest of it.
RENEW_AFTER = 0.6
# A call of an element that was admitted a moment ago waits so long for the token.
FIRST_TOKEN_SECONDS = 1.0

# Answers (access token, seconds it lives).
Issue = Callable[[], Awaitable[tuple[str, float]]]

_log = structlog.stdlib.get_logger(__name__)


class ServiceToken:
    """Holds the token of this server's account; run `renew` as a background task.

    Args:
        issue: asks admin for a token; raises ArtStoreError when it cannot.
    """

    def __init__(self, issue: Issue) -> None:
        self._issue = issue
        self._token = ""
        self._expires_at = 0.0
        self._obtained = asyncio.Event()
        self._wanted = Bell()

    @property
    def valid(self) -> bool:
        """Whether there is a token that has not expired."""
        return bool(self._token) and time.monotonic() < self._expires_at

    async def ready(self, timeout: float) -> None:
        """Wait for the first token.

        Raises:
            Unavailable: none came within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._obtained.wait()
        except TimeoutError as exc:
            raise Unavailable("no access token from admin yet") from exc

    def metadata(
        self, on_behalf_of: Caller | None = None, upload_token: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """Metadata for a call to another server.

        Args:
            on_behalf_of: whose call it is; its token travels along as `artstore-caller`.
            upload_token: passed on as `artstore-upload-token`.

        Raises:
            Unavailable: admin has given no token, or the last one has expired.
        """
        if not self.valid:
            self._wanted.ring()
            raise Unavailable("this server has no valid access token; admin is not answering")
        pairs = [(AUTHORIZATION_KEY, f"Bearer {self._token}")]
        if on_behalf_of is not None and on_behalf_of.token:
            pairs.append((CALLER_KEY, on_behalf_of.token))
        if upload_token:
            pairs.append((UPLOAD_TOKEN_KEY, upload_token))
        return tuple(pairs)

    def refused(self) -> None:
        """Another server answered UNAUTHENTICATED: get a new token at once."""
        self._wanted.ring()

    async def renew(self) -> None:
        """Get a token, and a new one each time before the last one ends, until cancelled."""
        backoff, wishes = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS), self._wanted.listen()
        while True:
            wishes.take()
            try:
                token, seconds = await self._issue()
            except ArtStoreError as exc:
                level = "warning" if backoff.is_longest else "info"
                getattr(_log, level)("no access token from admin", reason=exc.message)
                await backoff.pause()
                continue
            self._token = token
            self._expires_at = time.monotonic() + seconds
            self._obtained.set()
            backoff.reset()
            # Asked for out of turn it is renewed not more often than this, whoever asks.
            await wishes.wait(seconds * RENEW_AFTER, burst_seconds=FIRST_RETRY_SECONDS)


class ElementTokens:
    """Tokens of this server's account, each good at one storage element alone.

    An element, or whoever took its place, can do nothing elsewhere with what it is sent. Run
    `renew` as a background task; it has a token for each of `keep` before anybody calls it, so
    admin may be away then.

    Args:
        issue: asks admin for a token of an audience; raises ArtStoreError when it cannot.
    """

    def __init__(self, issue: Callable[[str], Awaitable[tuple[str, float]]]) -> None:
        self._issue = issue
        self._tokens: dict[str, ServiceToken] = {}
        self._renewing: dict[str, asyncio.Task[None]] = {}
        self._changed = Bell()
        self._runs = False

    async def metadata(
        self, element_id: str, on_behalf_of: Caller | None = None, upload_token: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """Metadata for a call of that element; see `ServiceToken.metadata`.

        Raises:
            Unavailable: admin has given no token for it, or the last one has expired.
        """
        token = self._of(element_id)
        if self._runs and not token.valid:
            await token.ready(FIRST_TOKEN_SECONDS)
        return token.metadata(on_behalf_of, upload_token)

    def refused(self, element_id: str) -> None:
        """That element answered UNAUTHENTICATED: get a new token at once."""
        self._of(element_id).refused()

    def all_refused(self) -> None:
        """The account's tokens were ended: get new ones at once."""
        for token in self._tokens.values():
            token.refused()

    def keep(self, element_ids: Collection[str]) -> None:
        """Have tokens for these elements, and for no other."""
        for element_id in element_ids:
            self._of(element_id)
        for element_id in self._tokens.keys() - set(element_ids):
            del self._tokens[element_id]
            self._changed.ring()

    async def renew(self) -> None:
        """Renew each token in time until cancelled."""
        changed, self._runs = self._changed.listen(), True
        try:
            while True:
                changed.take()
                for element_id in self._renewing.keys() - self._tokens.keys():
                    await cancel_and_wait(self._renewing.pop(element_id))
                for element_id in self._tokens.keys() - self._renewing.keys():
                    self._start(element_id)
                await changed.wait()
        finally:
            self._runs = False
            await cancel_and_wait(*self._renewing.values())
            self._renewing.clear()

    def _of(self, element_id: str) -> ServiceToken:
        if element_id not in self._tokens:
            audience = audience_of(element_id)
            self._tokens[element_id] = ServiceToken(lambda: self._issue(audience))
            self._changed.ring()
        return self._tokens[element_id]

    def _start(self, element_id: str) -> None:
        task = asyncio.create_task(
            self._tokens[element_id].renew(), name=f"access token for {element_id}"
        )
        task.add_done_callback(telling(_log, "access token is renewed no more"))
        self._renewing[element_id] = task

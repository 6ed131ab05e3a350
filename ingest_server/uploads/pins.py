"""Which element has the upload of a request_id, so that a repeat goes to the same one.

A pin is made when an element has accepted the upload, before any byte is forwarded, and
lives 7 days. The attempt that made it takes it away again if it knows that nothing was
stored; a repeat in between puts its own mark on the pin and thereby keeps it. Redis is
asked with a short timeout and left alone for a moment after it failed: without it, a repeat
is recognised by the element that gets it, not across elements.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from ingest_server.metrics import pins_skipped
from mesh.contract import REQUEST_LIFE_SECONDS
from mesh.elements.request_pins import pin_key
from mesh.errors import Unavailable
from mesh.redis import translated

REST_SECONDS = 2.0

T = TypeVar("T")

_log = structlog.stdlib.get_logger(__name__)

# KEYS[1] pin; ARGV: element, mark, seconds, element that the pin may be moved away from.
# Answers the element that has it.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if held then
  local element = string.match(held, '^%S+')
  if element ~= ARGV[1] and element ~= ARGV[4] then return {element, 0} end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'EX', ARGV[3])
return {ARGV[1], held and 0 or 1}
"""
# KEYS[1] pin; ARGV: its whole value.
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True)
class Pin:
    """A request_id's place.

    Attributes:
        element_id: element that has the upload.
        made_now: nobody had pinned the request before.
    """

    key: str
    element_id: str
    mark: str
    made_now: bool


class Pins:
    """The pins in Redis.

    Args:
        client: with a timeout that an upload can bear.
    """

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._rests_until = float("-inf")

    async def find(self, subject: str, request_id: str) -> str:
        """The element that the request is pinned to; empty when none, or Redis is away."""
        value = await self._ask(lambda: self._client.get(pin_key(subject, request_id)))
        return _text(value).partition(" ")[0] if value else ""

    async def take(
        self, subject: str, request_id: str, element_id: str, *, instead_of: str = ""
    ) -> Pin | None:
        """Pin the request to `element_id`, unless it is pinned to another one.

        Args:
            instead_of: element that had the pin and has said that it has no such file.

        Returns the pin that now holds, maybe another element's; None when Redis is away.
        """
        key, mark = pin_key(subject, request_id), secrets.token_hex(8)
        arguments = (element_id, mark, str(REQUEST_LIFE_SECONDS), instead_of)
        answer = await self._ask(lambda: self._client.eval(_TAKE, 1, key, *arguments))
        if answer is None:
            return None
        return Pin(key, _text(answer[0]), mark, made_now=bool(answer[1]))

    async def release(self, pin: Pin) -> None:
        """Take a pin away that this attempt made, unless a repeat has come to rely on it."""
        if pin.made_now:
            value = f"{pin.element_id} {pin.mark}"
            await self._ask(lambda: self._client.eval(_RELEASE, 1, pin.key, value))

    async def _ask(self, command: Callable[[], Awaitable[T]]) -> T | None:
        if self._clock() < self._rests_until:
            pins_skipped.inc()
            return None
        try:
            with translated("request ids"):
                return await command()
        except Unavailable as exc:
            self._rests_until = self._clock() + REST_SECONDS
            pins_skipped.inc()
            _log.warning("request ids: Redis is not answering", reason=exc.message)
            return None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

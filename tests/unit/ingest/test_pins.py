"""Pins of request ids, without a Redis that answers."""

from __future__ import annotations

from typing import Any

import redis.exceptions
from hypothesis import given
from hypothesis import strategies as st

from ingest_server.uploads.pins import Pin, Pins
from mesh.elements.request_pins import pin_key

TEXT = st.text(max_size=130)


class SilentRedis:
    """Times out, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, *_: Any) -> None:
        self.asked += 1
        raise redis.exceptions.TimeoutError

    eval = get


async def test_a_silent_redis_is_left_alone_for_a_moment() -> None:
    now, client = [0.0], SilentRedis()
    pins = Pins(client, clock=lambda: now[0])
    assert await pins.find("alice", "r-1") == ""
    assert await pins.take("alice", "r-1", "se-01") is None
    assert client.asked == 1
    now[0] = 10.0
    assert await pins.find("alice", "r-1") == ""
    assert client.asked == 2


async def test_a_pin_that_this_attempt_did_not_make_is_not_released() -> None:
    client = SilentRedis()
    await Pins(client).release(Pin("key", "se-01", "mark", made_now=False))
    assert client.asked == 0


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_two_requests_never_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (pin_key(*one) == pin_key(*other)) == (one == other)

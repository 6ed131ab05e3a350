"""The Redis client against a server that stops, freezes and comes back."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis.exceptions

from mesh.errors import Unavailable
from mesh.redis import open_redis, ping, translated
from tests.support.services import ValkeyProcess


async def test_a_command_gets_its_answer(redis_url: str) -> None:
    client = open_redis(redis_url)
    with translated("test"):
        await client.set("k", "v")
        assert await client.get("k") == b"v"
    await client.aclose()


async def test_a_stopped_server_is_unavailable_and_found_again(own_valkey: ValkeyProcess) -> None:
    client = open_redis(own_valkey.url)
    await ping(client)
    await asyncio.to_thread(own_valkey.stop)
    started = time.perf_counter()
    with pytest.raises(Unavailable):
        await ping(client)
    assert time.perf_counter() - started < 2
    await asyncio.to_thread(own_valkey.start)
    await ping(client)
    await client.aclose()


async def test_a_frozen_server_is_unavailable_in_time(own_valkey: ValkeyProcess) -> None:
    client = open_redis(own_valkey.url, timeout_seconds=0.3, max_connections=2)
    await ping(client)
    own_valkey.freeze()
    started = time.perf_counter()
    answers = await asyncio.gather(*(ping(client) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert time.perf_counter() - started < 2
    own_valkey.thaw()
    await ping(client)
    await client.aclose()


async def test_a_command_whose_answer_was_lost_is_not_sent_again(
    own_valkey: ValkeyProcess,
) -> None:
    client = open_redis(own_valkey.url, timeout_seconds=0.3)
    await client.set("n", 0)
    own_valkey.freeze()
    with pytest.raises(Unavailable), translated("count"):
        await client.incr("n")
    own_valkey.thaw()
    assert int(await client.get("n") or 0) <= 1
    await client.aclose()


async def test_an_error_that_the_server_answers_is_a_bug_and_passes(redis_url: str) -> None:
    client = open_redis(redis_url)
    await client.set("k", "text")
    with pytest.raises(redis.exceptions.ResponseError), translated("test"):
        await client.incr("k")
    await client.aclose()

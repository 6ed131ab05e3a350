"""Calls under way end at their caller's suspension, and endless ones with their token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from artstore.v1 import changes_pb2, downloads_pb2, storage_pb2
from mesh.identity.suspensions import Suspension, SuspensionList
from tests.integration.mesh.serving import Serving, serving, upload_chunk
from tests.support.caller import Ending, ToldFirst, ended, ending_of
from tests.support.waiting import until

GET_FILE = storage_pb2.StorageServiceGetFileRequest(file_id="f")


@pytest.fixture
async def mesh() -> AsyncIterator[Serving]:
    async with serving() as made:
        yield made


def suspend(mesh: Serving, *accounts: str, **fields: Any) -> None:
    mesh.suspensions.take(
        SuspensionList(
            time.time(), tuple(Suspension(one, time.time(), **fields) for one in accounts)
        )
    )


async def end_of(call: Any) -> Ending:
    """How a stream of answers ends; what it says before is dropped."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(10):
            while await call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return ending_of(error, time.monotonic() - began)
    return Ending(grpc.StatusCode.OK)


def told(ending: Ending) -> tuple[str, str]:
    return ending.name, ending.reason


SUSPENDED = ("UNAUTHENTICATED", "ACCOUNT_SUSPENDED")


async def test_a_suspended_account_makes_no_call_and_a_resumed_one_does(mesh: Serving) -> None:
    mine = mesh.bearer(sub="mallory")
    assert (await ended(mesh.stub.GetFile(GET_FILE, metadata=mine))).name == "OK"
    suspend(mesh, "mallory")
    assert told(await ended(mesh.stub.GetFile(GET_FILE, metadata=mine))) == SUSPENDED
    assert (await ended(mesh.stub.GetFile(GET_FILE, metadata=mesh.bearer()))).name == "OK"
    suspend(mesh)
    assert (await ended(mesh.stub.GetFile(GET_FILE, metadata=mine))).name == "OK"


async def test_tokens_that_were_ended_are_refused_and_later_ones_are_good(mesh: Serving) -> None:
    now = int(time.time())
    suspend(mesh, "mallory", ends_at=now + 1000.0)
    for issued_at, expected in (
        (now - 60, "UNAUTHENTICATED"),
        (now, "UNAUTHENTICATED"),
        (now + 2, "OK"),
    ):
        metadata = mesh.bearer(sub="mallory", iat=issued_at, nbf=issued_at)
        ending = await ended(mesh.stub.GetFile(GET_FILE, metadata=metadata))
        assert ending.name == expected
        assert ending.reason == ("" if expected == "OK" else "TOKEN_WITHDRAWN")


async def test_behind_a_server_the_caller_is_refused_and_the_server_too(mesh: Serving) -> None:
    server, user = mesh.bearer(sub="ingest", role="SERVICE"), mesh.signer.token(sub="mallory")
    behind = (*server, ("artstore-caller", user))
    assert (await ended(mesh.stub.GetFile(GET_FILE, metadata=behind))).name == "OK"
    for account in ("mallory", "ingest"):
        suspend(mesh, account)
        assert told(await ended(mesh.stub.GetFile(GET_FILE, metadata=behind))) == SUSPENDED


@pytest.mark.parametrize("suspended", ["mallory", "ingest"])
async def test_what_is_under_way_ends(mesh: Serving, suspended: str) -> None:
    async def wait(context: Any) -> None:
        # GetFile would answer at once; the streams go on by themselves.
        if dict(context.invocation_metadata()).get("wait"):
            await asyncio.Event().wait()

    mesh.storage.on_call = wait
    server, user = mesh.bearer(sub="ingest", role="SERVICE"), mesh.signer.token(sub="mallory")
    behind = (*server, ("artstore-caller", user))
    unary = mesh.stub.GetFile(GET_FILE, metadata=(*behind, ("wait", "1")))
    watch = mesh.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(),
        metadata=(*server, ("artstore-caller", mesh.signer.token(sub="mallory", role="SERVICE"))),
    )
    upload = mesh.stub.Upload(metadata=behind)
    await upload.write(upload_chunk())
    others = mesh.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(), metadata=mesh.bearer(role="SERVICE")
    )
    await until(lambda: len(mesh.storage.seen) == 4)
    suspend(mesh, suspended)
    for ending in await asyncio.gather(ended(unary), end_of(watch), ended(upload)):
        assert told(ending) == SUSPENDED
    assert mesh.storage.ended == ["WatchChanges"]
    assert not others.done()
    others.cancel()


async def test_an_upload_that_is_sending_is_told_why_it_ends(mesh: Serving) -> None:
    upload = mesh.stub.Upload(metadata=mesh.bearer(sub="mallory", role="SERVICE"))
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            await upload.write(upload_chunk())
            sent += 1
            await asyncio.sleep(0.001)

    first = ToldFirst(upload)
    sending = asyncio.create_task(send())
    await until(lambda: sent > 20)
    suspend(mesh, "mallory")
    assert told(await first.ending()) == SUSPENDED
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_a_download_ends_whether_its_reader_reads_or_not(mesh: Serving) -> None:
    request = downloads_pb2.DownloadRequest(length=1_000_000)
    reading = mesh.stub.Download(request, metadata=mesh.bearer(sub="mallory"))
    stuck = mesh.stub.Download(request, metadata=mesh.bearer(sub="mallory"))
    await reading.read()
    await stuck.read()
    await asyncio.sleep(0.1)
    suspend(mesh, "mallory")
    assert told(await end_of(reading)) == SUSPENDED
    await until(lambda: mesh.storage.ended == ["Download", "Download"])
    await until(lambda: mesh.server.metrics.in_flight == 0, 5)
    assert (await end_of(stuck)).name in ("UNAUTHENTICATED", "CANCELLED")


async def test_an_endless_stream_ends_with_its_token_and_a_transfer_does_not(
    mesh: Serving,
) -> None:
    soon = int(time.time()) + 1
    short = mesh.bearer(role="SERVICE", exp=soon)
    upload = mesh.stub.Upload(metadata=short)
    await upload.write(upload_chunk())
    watch = mesh.stub.WatchChanges(changes_pb2.WatchChangesRequest(), metadata=short)
    long = mesh.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(), metadata=mesh.bearer(role="SERVICE")
    )
    assert told(await end_of(watch)) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    assert time.time() >= soon
    assert not long.done()
    long.cancel()
    await upload.write(upload_chunk())
    await upload.done_writing()
    assert (await upload).change_token == "2"


def refused(mesh: Serving) -> list[tuple[str, str, str, int]]:
    """What admin would be told of now."""
    mesh.server.refusals.end()
    request = mesh.server.refusals.next()
    found = request.refusals if request is not None else ()
    return [(one.actor, one.action, one.reason, one.count) for one in found]


async def test_a_stream_that_ends_with_its_token_was_not_refused(mesh: Serving) -> None:
    soon = int(time.time()) + 1
    follower = mesh.bearer(role="SERVICE", sub="follower", exp=soon)
    watch = mesh.stub.WatchChanges(changes_pb2.WatchChangesRequest(), metadata=follower)
    assert told(await end_of(watch)) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    assert refused(mesh) == []
    assert told(await ended(mesh.stub.GetFile(GET_FILE, metadata=follower)))[1] == "TOKEN_EXPIRED"
    assert refused(mesh) == [("", "GetFile", "TOKEN_EXPIRED", 1)]


@pytest.mark.parametrize("suspended", ["mallory", "ingest"])
async def test_a_refused_call_of_a_suspended_account_is_noted_with_its_caller(
    mesh: Serving, suspended: str
) -> None:
    server, user = mesh.bearer(sub="ingest", role="SERVICE"), mesh.signer.token(sub="mallory")
    suspend(mesh, suspended)
    behind = (*server, ("artstore-caller", user))
    assert told(await ended(mesh.stub.GetFile(GET_FILE, metadata=behind))) == SUSPENDED
    assert refused(mesh) == [(suspended, "GetFile", "ACCOUNT_SUSPENDED", 1)]


async def test_behind_a_server_a_stream_ends_with_the_callers_token(mesh: Serving) -> None:
    soon = int(time.time()) + 1
    user = mesh.signer.token(sub="mallory", role="SERVICE", exp=soon)
    watch = mesh.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(),
        metadata=(*mesh.bearer(role="SERVICE"), ("artstore-caller", user)),
    )
    assert told(await end_of(watch)) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")

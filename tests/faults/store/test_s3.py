"""An S3 server that is dead, frozen, or goes away in the middle."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Unavailable
from storage_server.domain.file_id import new_file_id
from storage_server.store.open import StoreConfig, open_store
from storage_server.store.port import Store
from storage_server.store.s3_client import S3Client
from storage_server.store.s3_config import S3Config
from tests.faults.store.hurried import DEADLINE, config, opened
from tests.faults.store.reads import SIDECAR, every_read
from tests.faults.store.stages import no_stages, some_stage
from tests.support.blobs import BLOB, CHUNK, MIB, feed, read, sealed, some_bytes, store_blob
from tests.support.places import FOLDER, put_objects
from tests.support.services import S3Account, S3Process
from tests.support.waiting import until


def unhurried(account: S3Account) -> StoreConfig:
    """For tests that move many bytes and are not about time."""
    return replace(config(account), patient_seconds=20 * DEADLINE)


@pytest.fixture
def account(own_s3: S3Process) -> S3Account:
    return own_s3.create_bucket()


@pytest.fixture
async def store(account: S3Account) -> AsyncIterator[Store]:
    made = await opened(config(account))
    yield made
    await made.close()


async def assert_all_unavailable(store: Store, seconds: float) -> None:
    """Every call ends as Unavailable, within `seconds` each."""

    async def scan() -> None:
        async for _ in store.scan():
            pass

    began = time.monotonic()
    errors = await every_read(store)
    writes = (
        scan,
        store.read_element,
        lambda: store.write_element(b"{}"),
        store.is_empty,
        store.list_stages,
        lambda: store.write_sidecar(SIDECAR, b"{}", expected=None),
        lambda: store.delete_sidecar(SIDECAR),
    )
    for write in writes:
        try:
            await write()
        except Exception as exc:
            errors.append(exc)
        else:
            errors.append(None)
    assert [type(error) for error in errors] == [Unavailable] * 14, errors
    assert time.monotonic() - began < seconds * 14
    for error in errors:
        assert isinstance(error, Unavailable)
        assert "secret" not in error.message


async def test_dead_server_is_unavailable_at_once(store: Store, own_s3: S3Process) -> None:
    own_s3.kill()
    await assert_all_unavailable(store, DEADLINE + 0.5)


async def test_frozen_server_is_unavailable_within_the_deadline_and_comes_back(
    store: Store, own_s3: S3Process
) -> None:
    own_s3.freeze()
    try:
        # Reading opens a broken stream again: twice at most.
        await assert_all_unavailable(store, DEADLINE + 0.5)
    finally:
        own_s3.thaw()
    # Another path: what was sent to the frozen server may be done now.
    written = await store.write_sidecar(f"{FOLDER}/b.attr.json", b"{}", expected=None)
    assert await store.read_sidecar(f"{FOLDER}/b.attr.json") == (b"{}", written)


async def test_store_on_a_dead_server_is_not_opened(own_s3: S3Process, account: S3Account) -> None:
    own_s3.kill()
    with pytest.raises(Unavailable):
        await open_store(config(account))


async def test_wrong_secret_is_unavailable_and_not_told(account: S3Account) -> None:

    with pytest.raises(Unavailable) as caught:
        await open_store(replace(config(account), secret_key="not the secret"))
    assert "not the secret" not in str(caught.value)
    assert account.bucket in caught.value.message


async def test_missing_bucket_is_made(own_s3: S3Process, account: S3Account) -> None:
    bucket = f"a-new-bucket-{secrets.token_hex(4)}"
    store = await opened(replace(config(account), bucket=bucket))
    assert await store.is_empty()
    await store.close()
    names = [bucket["Name"] for bucket in own_s3.client().list_buckets()["Buckets"]]
    assert bucket in names


async def test_bucket_that_is_gone_is_no_proof_of_absence(
    store: Store, own_s3: S3Process, account: S3Account
) -> None:
    own_s3.client().delete_bucket(Bucket=account.bucket)
    for call in (store.read_element, store.is_empty, lambda: store.read_sidecar(SIDECAR)):
        with pytest.raises(Unavailable):
            await call()
    with pytest.raises(Unavailable):
        async for _ in store.scan():
            pass


async def test_download_goes_on_over_a_restart_of_the_server(
    account: S3Account, own_s3: S3Process
) -> None:
    store = await opened(unhurried(account))
    data = some_bytes(24 * MIB)
    await store_blob(store, data)
    chunks = store.read_blob(BLOB, offset=0, length=0, chunk_size=CHUNK)
    got = [await anext(chunks)]
    own_s3.kill()
    own_s3.start()
    got += [chunk async for chunk in chunks]
    assert b"".join(got) == data
    await store.close()


async def test_upload_that_breaks_ends_unavailable_and_can_begin_again(
    account: S3Account, own_s3: S3Process
) -> None:
    store = await opened(unhurried(account))
    data = some_bytes(20 * MIB)
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data[: 9 * MIB])
    own_s3.kill()
    with pytest.raises(Unavailable):
        await feed(stage, data[9 * MIB :])
        await stage.seal()
    own_s3.start()
    await stage.discard()
    await store_blob(store, data)
    assert await read(store) == data
    await store.close()


async def test_completion_whose_answer_is_lost_is_not_repeated_unseen(
    store: Store, own_s3: S3Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(9 * MIB)
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    client = stage._client  # type: ignore[attr-defined]
    real, calls = client.call_once, 0

    async def lost(operation: str, *args: object, **more: object) -> dict[str, object]:
        nonlocal calls
        answer: dict[str, object] = await real(operation, *args, **more)
        if operation != "complete_multipart_upload":
            return answer
        calls += 1
        raise Unavailable("the answer was lost")

    monkeypatch.setattr(client, "call_once", lost)
    assert await stage.seal() == sealed(data)
    assert calls == 1
    await stage.place()
    assert await read(store) == data


async def test_completion_has_time_in_proportion_to_the_size(
    account: S3Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(20 * MIB)
    store = await opened(unhurried(account))
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    client = stage._client  # type: ignore[attr-defined]
    monkeypatch.setattr(client, "patient_seconds", 8 * DEADLINE)
    api = client._patient.client
    real, calls = api.complete_multipart_upload, 0

    async def slow(**parameters: object) -> dict[str, object]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(9 * DEADLINE)
        answer: dict[str, object] = await real(**parameters)
        return answer

    monkeypatch.setattr(api, "complete_multipart_upload", slow)
    assert await stage.seal() == sealed(data)
    assert calls == 1
    await store.close()


async def test_large_object_may_be_looked_at_for_longer(
    account: S3Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers hash it from end to end before they answer: rclone does."""
    data = some_bytes(50 * MIB)
    store = await opened(unhurried(account))
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    await stage.seal()
    api = stage._client._patient.client  # type: ignore[attr-defined]

    def slowed(real: object) -> object:
        async def call(**parameters: object) -> object:
            await asyncio.sleep(1.5 * DEADLINE)
            return await real(**parameters)  # type: ignore[operator]

        return call

    for operation in ("head_object", "get_object"):
        monkeypatch.setattr(api, operation, slowed(getattr(api, operation)))
    await stage.place()
    chunks = store.read_blob(BLOB, offset=0, length=len(data), chunk_size=CHUNK)
    assert b"".join([chunk async for chunk in chunks]) == data
    await store.close()


async def test_parts_are_sent_side_by_side_two_to_four_at_a_time(
    account: S3Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(unhurried(account))
    data = some_bytes(56 * MIB)
    stage = await store.open_stage(BLOB, key="upload-1")
    api = stage._client._quick.client  # type: ignore[attr-defined]
    real, sending, most = api.upload_part, 0, 0

    async def counted(**parameters: object) -> dict[str, object]:
        nonlocal sending, most
        sending += 1
        most = max(most, sending)
        try:
            await asyncio.sleep(0.1)
            answer: dict[str, object] = await real(**parameters)
            return answer
        finally:
            sending -= 1

    monkeypatch.setattr(api, "upload_part", counted)
    await feed(stage, data)
    assert await stage.seal() == sealed(data)
    assert 2 <= most <= 4
    await store.close()


async def test_callers_wait_for_one_of_few_connections(
    account: S3Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, seconds = 4, 0.5
    store = await opened(
        replace(
            config(account),
            max_connections=limit,
            deadline_seconds=3 * seconds,
            patient_seconds=20 * seconds,
        )
    )
    await store_blob(store, b"content")
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    client = store._client  # type: ignore[attr-defined]
    used, most = 0, 0

    def slowed(real: object) -> object:
        async def call(**parameters: object) -> object:
            nonlocal used, most
            used += 1
            most = max(most, used)
            try:
                await asyncio.sleep(seconds)
                return await real(**parameters)  # type: ignore[operator]
            finally:
                used -= 1

        return call

    for api, operation in (
        (client._quick.client, "get_object"),
        (client._quick.client, "head_object"),
        (client._patient.client, "list_objects_v2"),
    ):
        monkeypatch.setattr(api, operation, slowed(getattr(api, operation)))
    await asyncio.gather(
        *(store.read_sidecar(SIDECAR) for _ in range(7)),
        *(store.stat_sidecar(SIDECAR) for _ in range(7)),
        store.is_empty(),
    )
    assert 2 < most <= limit
    await store.close()


async def test_slow_readers_leave_connections_to_others(account: S3Account) -> None:
    store = await opened(replace(unhurried(account), max_connections=6))
    data = some_bytes(20 * MIB)
    await store_blob(store, data)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    readers = [store.read_blob(BLOB, offset=0, length=0, chunk_size=CHUNK) for _ in range(3)]
    begun = [await anext(readers[0]), await anext(readers[1])]
    # These two have the readers' share of the connections; the third one waits for it.
    third = asyncio.ensure_future(anext(readers[2]))
    assert (await store.read_sidecar(SIDECAR)) is not None
    assert not third.done()
    rest = [chunk async for chunk in readers[0]]
    assert b"".join([begun[0], *rest]) == data
    assert await third == begun[0]
    for reader in readers:
        await reader.aclose()
    await store.close()


async def test_cancelled_upload_leaves_no_parts(store: Store, own_s3: S3Process) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    data = some_bytes(17 * MIB)

    async def upload() -> None:
        try:
            await feed(stage, data)
            await asyncio.Event().wait()
        finally:
            await stage.discard()

    uploading = asyncio.create_task(upload())
    await until(lambda: some_stage(store))
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    await until(lambda: no_stages(store))


async def test_listing_does_not_stop_the_event_loop(
    store: Store, own_s3: S3Process, account: S3Account
) -> None:
    files = {
        f"{FOLDER}/{number:05}_{new_file_id_of(number)}.attr.json": b"{}" for number in range(3000)
    }
    put_objects(own_s3.client(), account.bucket, "storage_element_01", files)
    longest = 0.0
    listing = True

    async def watch() -> None:
        nonlocal longest
        while listing:
            # Of this thread alone, since other work on the machine is not the store's.
            began = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - began)

    # What the other tests left is not to be gone through by the collector meanwhile.
    gc.collect()
    gc.freeze()
    watching = asyncio.create_task(watch())
    found = sum([len(each.sidecars) async for each in store.scan()])
    listing = False
    await watching
    gc.unfreeze()
    assert found == 3000
    # The client's own parser takes 200 ms for a page of 1,000 keys.
    assert longest < 0.1


def new_file_id_of(number: int) -> str:

    return new_file_id(datetime(2026, 11, 24, 3, tzinfo=UTC) + timedelta(seconds=number))


@pytest.mark.parametrize("cut_off", [1, 2])
async def test_a_body_that_is_cut_off_is_asked_for_once_more(cut_off: int) -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")
        writer.write(b"side" if asked <= cut_off else b"sidecar")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await S3Client.open(
            S3Config(f"http://127.0.0.1:{port}", "bucket", "element", "key", "secret")
        )
        if cut_off == 1:
            assert (await client.get("a.attr.json", 4096))[0] == b"sidecar"
        else:
            with pytest.raises(Unavailable):
                await client.get("a.attr.json", 4096)
        await client.close()
    assert asked == 2

"""Each part of a whole mesh stopped or frozen, seen from outside: what goes on, and what says so
(correctness 20).

Calls begin at once, before any server has noticed, and one upload is in the midst of its stream.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from artstore.v1 import cache_pb2, downloads_pb2, query_pb2, storage_pb2, types_pb2, uploads_pb2
from tests.faults.breakable import FROZEN, POSTGRES, REDIS, S3, STOPPED, Breakable, breakable_mesh
from tests.faults.stores import holdings, nothing_left
from tests.support.caller import INGEST, Caller, Ending, Refused, UploadCall, ended
from tests.support.waiting import until_answered

pytestmark = pytest.mark.timeout(300)

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
ELEMENT, NEXT = "se-01", "se-02"
CONTENT = random.Random(7).randbytes(700_000)
# Longer than a server waits for any dependency, shorter than a caller's patience.
SOON_SECONDS = 12.0
# A part that S3 does not take is sent twice, and the stage is then tried to be removed.
S3_SECONDS = 25.0
MENDED_SECONDS = 60.0
HOW = pytest.mark.parametrize("how", [STOPPED, FROZEN])
# A process that is gone is noticed at once, and in many other tests; silence is what is hard.
HOW_OF_SERVERS = pytest.mark.parametrize(
    "how", [pytest.param(STOPPED, marks=pytest.mark.full), FROZEN]
)


@pytest.fixture(scope="module")
def on_files() -> Iterator[Breakable]:
    """On local files; every test mends what it breaks."""
    with breakable_mesh(on_s3=False) as found:
        yield found


@pytest.fixture(scope="module")
def on_s3() -> Iterator[Breakable]:
    """On S3."""
    with breakable_mesh(on_s3=True) as found:
        yield found


async def whole_caller(broken: Breakable, stack: AsyncExitStack) -> Caller:
    """A caller of a mesh that has got over the last fault."""
    caller = Caller(broken.mesh.file, "later")

    async def logged_in() -> bool:
        caller.token = await caller.login(timeout=5)
        return True

    await until_answered(logged_in, MENDED_SECONDS, "admin gives tokens")
    await stack.enter_async_context(caller)
    await mended(caller)
    return caller


async def mended(caller: Caller) -> None:
    """Wait until the whole mesh does all it can."""

    async def works() -> bool:
        for server in (ELEMENT, NEXT, "se-03"):
            assert await caller.health(server, "CacheService")
            assert await caller.health(server, "StorageService")
        file = await caller.put(b"mended")
        return file.storage_element_id == ELEMENT and await is_found(caller, file)

    async def tried() -> bool:
        try:
            return await works()
        except (AssertionError, Refused):
            return False

    await until_answered(tried, MENDED_SECONDS, "the mesh is whole again", pause=0.2)


async def is_found(caller: Caller, file: types_pb2.File) -> bool:
    """Whether a search finds a file."""
    request = query_pb2.SearchFilesRequest(
        order_by="created_at desc", filters=query_pb2.SearchFilters()
    )
    answer = await caller.query.SearchFiles(request, metadata=caller.metadata, timeout=5)
    return file.file_id in {result.file.file_id for result in answer.results}


@pytest.fixture
async def local(on_files: Breakable) -> AsyncIterator[Caller]:
    async with AsyncExitStack() as stack:
        yield await whole_caller(on_files, stack)


@pytest.fixture
async def remote(on_s3: Breakable) -> AsyncIterator[Caller]:
    async with AsyncExitStack() as stack:
        yield await whole_caller(on_s3, stack)


# --- calls ---------------------------------------------------------------------------


def update(caller: Caller, file: types_pb2.File, text: str = "x") -> Awaitable[Any]:
    request = storage_pb2.UpdateFileRequest(
        file_id=file.file_id,
        file=types_pb2.File(description=text),
        update_mask=field_mask_pb2.FieldMask(paths=["description"]),
    )
    call: Awaitable[Any] = caller.storage(file.storage_element_id).UpdateFile(
        request, **caller.auth
    )
    return call


def delete(caller: Caller, file: types_pb2.File) -> Awaitable[Any]:
    request = storage_pb2.DeleteFileRequest(file_id=file.file_id)
    call: Awaitable[Any] = caller.storage(file.storage_element_id).DeleteFile(
        request, **caller.auth
    )
    return call


def page(caller: Caller, element: str = ELEMENT) -> Awaitable[Any]:
    request = storage_pb2.StorageServiceListFilesRequest()
    call: Awaitable[Any] = caller.storage(element).ListFiles(request, **caller.auth)
    return call


def start(caller: Caller, element: str = ELEMENT) -> Awaitable[Any]:
    header = uploads_pb2.UploadHeader(original_filename="started.bin")
    request = uploads_pb2.StartUploadRequest(header=header)
    call: Awaitable[Any] = caller.storage(element).StartUpload(request, **caller.auth)
    return call


def rebuild(caller: Caller) -> Awaitable[Any]:
    call: Awaitable[Any] = caller.cache(ELEMENT).RebuildCache(
        cache_pb2.RebuildCacheRequest(), **caller.auth
    )
    return call


async def put(caller: Caller, target: str = INGEST) -> types_pb2.File:
    """An upload; a refused header counts as its status."""
    return await caller.put(CONTENT, target=target)


async def put_and_found(caller: Caller) -> types_pb2.File:
    """An upload that the index has heard of."""
    file = await put(caller)
    await until_answered(lambda: is_found(caller, file), SOON_SECONDS, "the index has the file")
    return file


async def by_query(caller: Caller, file: types_pb2.File) -> bytes:
    call = caller.query.DownloadFile(
        downloads_pb2.DownloadRequest(file_id=file.file_id), **caller.auth
    )
    return b"".join(
        [part.chunk.data async for part in call if part.WhichOneof("payload") == "chunk"]
    )


async def told(call: Awaitable[Any]) -> Ending:
    """`ended`, for uploads whose header is refused too."""
    try:
        return await ended(call)
    except Refused as refused:
        return refused.ending


async def all_of(seconds: float, code: grpc.StatusCode, **calls: Awaitable[Any]) -> None:
    """Make calls side by side; each ends with `code` within `seconds`."""
    began = dict(zip(calls, await asyncio.gather(*map(told, calls.values())), strict=True))
    wrong = {
        name: f"{ending.name} after {ending.seconds:.1f} s: {ending.text}"
        for name, ending in began.items()
        if ending.code != code or ending.seconds > seconds
    }
    assert not wrong


async def stream_in_the_midst(
    caller: Caller, stack: AsyncExitStack, target: str, name: str = "midst"
) -> UploadCall:
    """An upload that has sent its bytes and not its `finish`."""
    upload = await stack.enter_async_context(caller.upload_to(target))
    await upload.header(original_filename=f"{name}.bin", size_bytes=len(CONTENT))
    await upload.send(CONTENT)
    return upload


# --- parts ---------------------------------------------------------------------------


@HOW
async def test_without_redis_only_manual_cache_operations_are_unavailable(
    on_files: Breakable, local: Caller, how: str
) -> None:
    kept, goes = await put_and_found(local), await put(local)
    async with AsyncExitStack() as stack, on_files.without(REDIS, how):
        upload = await stream_in_the_midst(local, stack, INGEST)
        await all_of(
            SOON_SECONDS,
            OK,
            upload=put(local),
            in_the_midst=upload.finish(CONTENT),
            update=update(local, kept),
            delete=delete(local, goes),
            download=local.read(ELEMENT, kept.file_id),
            download_by_query=by_query(local, kept),
            read=local.get(ELEMENT, kept.file_id),
            list=page(local),
            search=is_found(local, kept),
        )
        check = local.cache(ELEMENT).CheckConsistency(
            cache_pb2.CheckConsistencyRequest(), **local.auth
        )
        clean = local.cache(ELEMENT).CleanupExpired(cache_pb2.CleanupExpiredRequest(), **local.auth)
        await all_of(SOON_SECONDS, UNAVAILABLE, rebuild=rebuild(local), check=check, clean=clean)
    await mended(local)
    await all_of(SOON_SECONDS, OK, rebuild=rebuild(local))


async def without_postgres(broken: Breakable, caller: Caller, how: str) -> None:
    kept, name = await put(caller), f"cut{random.getrandbits(32):x}"
    async with AsyncExitStack() as stack:
        upload = await stream_in_the_midst(caller, stack, ELEMENT, name)
        async with broken.without(POSTGRES, how):
            reads = asyncio.gather(
                caller.get(ELEMENT, kept.file_id), caller.read(ELEMENT, kept.file_id)
            )
            await all_of(
                SOON_SECONDS,
                UNAVAILABLE,
                commit=upload.finish(CONTENT),
                upload=put(caller, ELEMENT),
                start=start(caller),
                update=update(caller, kept),
                delete=delete(caller, kept),
                list=page(caller),
            )
            found, content = await reads
            assert (found.file_id, found.cache_stale) == (kept.file_id, True)
            assert content == CONTENT
            assert await caller.health(ELEMENT, "StorageService")
    await mended(caller)
    assert not (await caller.get(ELEMENT, kept.file_id)).cache_stale
    objects = (await holdings(broken.mesh, caller)).objects
    assert not [key for key in objects if name in key], "left by an upload that was refused"


@HOW
async def test_without_postgresql_files_are_read_from_their_sidecars(
    on_files: Breakable, local: Caller, how: str
) -> None:
    await without_postgres(on_files, local, how)


async def test_without_postgresql_files_on_s3_are_read_though_the_writers_lock_is_frozen(
    on_s3: Breakable, remote: Caller
) -> None:
    await without_postgres(on_s3, remote, FROZEN)


@pytest.mark.parametrize("how", [FROZEN, pytest.param(STOPPED, marks=pytest.mark.full)])
async def test_without_s3_bytes_are_unavailable_and_metadata_is_not(
    on_s3: Breakable, remote: Caller, how: str
) -> None:
    kept = await put_and_found(remote)
    async with AsyncExitStack() as stack:
        upload = await stream_in_the_midst(remote, stack, ELEMENT)
        async with on_s3.without(S3, how):
            metadata = asyncio.gather(
                remote.get(ELEMENT, kept.file_id), page(remote), is_found(remote, kept)
            )
            await all_of(
                S3_SECONDS,
                UNAVAILABLE,
                in_the_midst=upload.finish(CONTENT),
                upload=put(remote, ELEMENT),
                download=remote.read(ELEMENT, kept.file_id),
                delete=delete(remote, kept),
            )
            assert (await metadata)[0].file_id == kept.file_id
    await mended(remote)
    assert await remote.read(ELEMENT, kept.file_id) == CONTENT


@pytest.mark.full
async def test_upload_that_s3_never_answered_leaves_nothing_after_the_thaw(
    on_s3: Breakable, remote: Caller
) -> None:
    before = await holdings(on_s3.mesh, remote)
    async with AsyncExitStack() as stack:
        upload = await stream_in_the_midst(remote, stack, ELEMENT)
        async with on_s3.without(S3, FROZEN):
            await all_of(S3_SECONDS, UNAVAILABLE, in_the_midst=upload.finish(CONTENT))
    # What was sent may land for half a minute, and is looked at every ten seconds.
    await nothing_left(on_s3.mesh, remote, before, seconds=60)


@HOW_OF_SERVERS
async def test_without_one_element_the_others_go_on(
    on_files: Breakable, local: Caller, how: str
) -> None:
    kept = await put_and_found(local)
    async with on_files.without(ELEMENT, how):
        assert (await put(local)).storage_element_id == NEXT
        await all_of(SOON_SECONDS, UNAVAILABLE, download=by_query(local, kept))
        await all_of(SOON_SECONDS, OK, search=is_found(local, kept), list=page(local, NEXT))
    await mended(local)
    assert await local.read(ELEMENT, kept.file_id) == CONTENT


@HOW_OF_SERVERS
async def test_without_admin_valid_tokens_do_everything_and_servers_restart(
    on_files: Breakable, local: Caller, how: str
) -> None:
    kept, goes = await put_and_found(local), await put(local)
    async with on_files.without("admin", how):
        await all_of(
            SOON_SECONDS,
            OK,
            upload=put(local),
            update=update(local, kept),
            delete=delete(local, goes),
            download=local.read(ELEMENT, kept.file_id),
            download_by_query=by_query(local, kept),
            search=is_found(local, kept),
            rebuild=rebuild(local),
        )
        new = await told(local.login(timeout=3))
        assert new.code in {UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        await asyncio.to_thread(on_files.restart, ELEMENT)

        async def reads() -> bool:
            return await local.read(ELEMENT, kept.file_id) == CONTENT

        await until_answered(reads, MENDED_SECONDS, "an element starts with the keys it kept")
    await until_answered(local.login, MENDED_SECONDS, "admin gives tokens again")


@HOW_OF_SERVERS
async def test_without_query_everything_but_search_goes_on_and_it_catches_up(
    on_files: Breakable, local: Caller, how: str
) -> None:
    kept = await put(local)
    async with on_files.without("query", how):
        new = await put(local)
        await all_of(
            SOON_SECONDS,
            OK,
            update=update(local, kept),
            download=local.read(ELEMENT, kept.file_id),
            list=page(local),
            rebuild=rebuild(local),
        )
        call = local.query.SearchFiles(
            query_pb2.SearchFilesRequest(), metadata=local.metadata, timeout=3
        )
        assert (await told(call)).code in {UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    await until_answered(lambda: is_found(local, new), MENDED_SECONDS, "query has caught up")

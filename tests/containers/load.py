"""A modest load of clients that retry, and what they were told of each call."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from artstore.v1 import downloads_pb2
from artstore.v1.types_pb2 import RETENTION_POLICY_TEMPORARY
from artstore_client import Client
from artstore_client.errors import ArtStoreError, NotFound, Unavailable

Answer = TypeVar("Answer")

# What the clients do, in the order of the table's columns.
KINDS = (
    "upload",
    "resumable upload",
    "stat",
    "update",
    "search",
    "download",
    "download through query",
    "delete",
)
PATIENCE_SECONDS = 180.0
ONE_STREAM_BYTES = 64 * 1024
PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Made:
    """One call as its caller saw it.

    Attributes:
        began_at: monotonic.
        seconds: with all repeats.
        tries: 1 if it succeeded at once; the library's own repeats are not seen.
        error: what ended it, empty when it succeeded.
        on: element that alone could answer it, empty when several could.
    """

    kind: str
    began_at: float
    seconds: float
    tries: int
    error: str
    on: str
    told: str = ""


@dataclass(slots=True)
class Stored:
    """What a client was told to be stored."""

    file_id: str
    element_id: str
    sha256: str
    word: str
    change_token: str
    description: str = ""
    deleted: bool = False


@dataclass
class Load:
    """`running` keeps the clients at work; `made` and `stored` say what came of it."""

    settings: dict[str, Any]
    workers: int = 4
    made: list[Made] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: dict[object, float] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work until the block ends; whatever a worker did not foresee is raised there."""
        self._stop.clear()
        tasks = [asyncio.create_task(self._worker(number)) for number in range(self.workers)]
        try:
            yield
        finally:
            self._stop.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome

    async def settled(self) -> None:
        """Wait until each kind of call succeeded, begun from now on, and no older one goes on."""
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._settled_since(began):  # noqa: ASYNC110 - by tasks
                await asyncio.sleep(0.1)

    def _settled_since(self, moment: float) -> bool:
        done = {one.kind for one in self.made if one.began_at >= moment and not one.error}
        return done >= set(KINDS) and all(one >= moment for one in self._under_way.values())

    async def _worker(self, number: int) -> None:
        randomness = random.Random(number)
        async with Client.connect(**self.settings, one_stream_bytes=ONE_STREAM_BYTES) as client:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                word = f"w{number}x{turn}x{time.time_ns():x}"
                await self._life(client, word, randomness, turn=number + turn)

    async def _life(
        self, client: Client, word: str, randomness: random.Random, *, turn: int
    ) -> None:
        large = turn % 2 == 0
        size = randomness.randint(3, 6) * ONE_STREAM_BYTES if large else 20_000
        content = randomness.randbytes(size)
        kind = "resumable upload" if large else "upload"
        done = await self._call(
            kind,
            lambda: client.upload(
                content, name=f"{word}.bin", tags=[word], permanent=turn % 3 == 0
            ),
        )
        if done is None:
            return
        one = Stored(
            done.file.file_id,
            done.file.storage_element_id,
            hashlib.sha256(content).hexdigest(),
            word,
            done.change_token,
        )
        self.stored[one.file_id] = one
        await self._rest()
        await self._call("stat", lambda: client.stat(one.file_id), on=one.element_id)
        await self._rest()
        await self._update(client, one, f"described {word}")
        await self._rest()
        await self._call("search", lambda: self._found(client, one))
        await self._rest()
        await self._call("download", lambda: self._same(client, one), on=one.element_id)
        await self._rest()
        await self._call(
            "download through query", lambda: same_through_query(client, one), on=one.element_id
        )
        await self._rest()
        if done.file.retention_policy == RETENTION_POLICY_TEMPORARY and turn % 4 < 2:
            await self._delete(client, one)
            await self._rest()

    async def _rest(self) -> None:
        await asyncio.sleep(PAUSE_SECONDS)

    async def _update(self, client: Client, one: Stored, description: str) -> None:
        done = await self._call(
            "update", lambda: client.update(one.file_id, description=description), on=one.element_id
        )
        if done is not None:
            one.description = description

    async def _found(self, client: Client, one: Stored) -> None:
        page = await client.search(one.word, min_change_tokens=[one.change_token])
        if one.file_id not in {result.file.file_id for result in page.results}:
            raise AssertionError(f"{one.file_id} is not found by {one.word}")

    async def _same(self, client: Client, one: Stored) -> None:
        await same(client, one)

    async def _delete(self, client: Client, one: Stored) -> None:
        async def delete() -> None:
            try:
                await client.delete(one.file_id)
            except NotFound as error:
                # A repeat of one whose answer was lost.
                if error.reason != "FILE_DELETED":
                    raise

        # From here on it may be gone, whatever the client is told.
        one.deleted = True
        await self._call("delete", delete, on=one.element_id)

    async def _call(
        self, kind: str, work: Callable[[], Awaitable[Answer]], *, on: str = ""
    ) -> Answer | None:
        """Do it until it succeeds, as any careful caller would, and note how that went."""
        call = object()
        self._under_way[call] = time.monotonic()
        try:
            return await self._repeated(kind, work, on)
        finally:
            del self._under_way[call]

    async def _repeated(
        self, kind: str, work: Callable[[], Awaitable[Answer]], on: str
    ) -> Answer | None:
        began, tries, told = time.monotonic(), 0, ""
        while True:
            tries += 1
            error: BaseException
            try:
                answer = await work()
            except Unavailable as unavailable:
                error = unavailable
                told = told or str(unavailable)[:300]
                if time.monotonic() - began < PATIENCE_SECONDS:
                    await asyncio.sleep(min(2.0, 0.2 * 2**tries))
                    continue
            except (ArtStoreError, AssertionError) as other:
                error = other
            else:
                self._note(kind, began, tries, "", on, told)
                return answer
            self._note(kind, began, tries, f"{type(error).__name__}: {error}", on, told)
            return None

    def _note(self, kind: str, began: float, tries: int, error: str, on: str, told: str) -> None:
        self.made.append(Made(kind, began, time.monotonic() - began, tries, error, on, told))


async def same(client: Client, one: Stored) -> None:
    """Read a file where it is and compare.

    Raises:
        AssertionError: other bytes came than were stored.
    """
    digest = hashlib.sha256()
    async for block in client.download(one.file_id):
        digest.update(block)
    assert digest.hexdigest() == one.sha256, f"{one.file_id} is not what was stored"


async def same_through_query(client: Client, one: Stored) -> None:
    """The same, by way of query."""
    digest = hashlib.sha256()
    connection = client._connection
    request = downloads_pb2.DownloadRequest(file_id=one.file_id)
    parts = connection.calls.stream(
        connection.query.DownloadFile, request, doing="DownloadFile on query"
    )
    async for part in parts:
        digest.update(part.chunk.data)
    assert digest.hexdigest() == one.sha256, f"{one.file_id} is not what was stored"

"""Restarting all servers while clients that repeat, and one that does not, go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from artstore.v1 import elements_pb2, elements_pb2_grpc, uploads_pb2
from artstore_client import Client
from artstore_client.errors import ArtStoreError
from tests.containers.composed import ComposedMesh, run
from tests.containers.hurts import Containers
from tests.containers.load import Load

RESTART_SECONDS = 600.0
PAUSE_SECONDS = 0.05
SHARED = ("postgres", "valkey", "s3")


@dataclass(slots=True)
class Rolled:
    """What came of it.

    Attributes:
        told: in words, for the page.
        failures: of the clients that repeat.
        failures_without_repeats: of the client that does not, and not even its library.
    """

    told: str
    failures: list[str]
    failures_without_repeats: list[str]


@dataclass(slots=True)
class Impatient:
    """Calls each pair of servers again and again, each call once."""

    calls: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0

    @asynccontextmanager
    async def running(self, client: Client) -> AsyncIterator[None]:
        """Call until the block ends; what is no answer of the mesh is raised there.

        Raises:
            AssertionError: one of the pairs was never called.
        """
        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "admin": lambda: _ask_admin(client),
            "query": lambda: client.search("nothing"),
            "ingest": lambda: _ask_ingest(client),
        }
        tasks = [asyncio.create_task(self._again(name, work)) for name, work in asks.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        assert self.calls.keys() == asks.keys(), self.calls

    async def _again(self, name: str, work: Callable[[], Awaitable[object]]) -> NoReturn:
        while True:
            began = time.monotonic()
            try:
                await work()
            except ArtStoreError as error:
                self.failures.append(f"{name}: {error}")
            self.calls[name] = self.calls.get(name, 0) + 1
            self.longest = max(self.longest, time.monotonic() - began)
            await asyncio.sleep(PAUSE_SECONDS)


async def _ask_admin(client: Client) -> None:
    connection = client._connection
    channel = connection._channels.to(connection.settings.endpoints.admin)
    stub = elements_pb2_grpc.StorageElementServiceStub(channel)
    await connection.calls.unary(
        stub.ListStorageElements,
        elements_pb2.ListStorageElementsRequest(),
        doing="ListStorageElements",
    )


async def _ask_ingest(client: Client) -> None:
    """GetUpload of an upload that is not there: ingest's own answer, without an element."""
    connection = client._connection
    request = uploads_pb2.GetUploadRequest(upload_id="none")
    try:
        await connection.calls.unary(connection.ingest.GetUpload, request, doing="GetUpload")
    except ArtStoreError as error:
        if type(error).__name__ != "NotFound":
            raise


def _servers(mesh: ComposedMesh) -> dict[str, str]:
    """The containers of all servers, by service."""
    return {name: mesh.container(name) for name in mesh.services() if name not in SHARED}


async def roll(mesh: ComposedMesh, settings: dict[str, Any], load: Load, commands: str) -> Rolled:
    """Run the manual's commands under load."""
    impatient = Impatient()
    before = await asyncio.to_thread(_servers, mesh)
    async with Client.connect(**settings, retry_for_seconds=0) as client:
        await client.access_token()
        async with impatient.running(client):
            began = time.monotonic()
            # As an operator's shell does: a command that fails does not end it.
            done = await asyncio.to_thread(
                run, ["bash", "-c", commands], cwd=mesh.folder, seconds=RESTART_SECONDS
            )
            seconds = time.monotonic() - began
    after = await asyncio.to_thread(_servers, mesh)
    kept = sorted(name for name, container in after.items() if container == before[name])
    assert not kept, f"not restarted: {kept}\n{done.stderr.decode(errors='replace')}"
    await asyncio.to_thread(Containers(mesh).wait_healthy, 0.0)
    calls = [one for one in load.made if one.began_at + one.seconds >= began]
    repeated = sum(one.tries > 1 for one in calls)
    failures = [f"{one.kind}: {one.error}" for one in calls if one.error]
    longest = max((one.seconds for one in calls), default=0.0)
    asked = ", ".join(f"{count} of {name}" for name, count in sorted(impatient.calls.items()))
    told = (
        f"All nine servers, by the commands of operations.md, within {seconds:.0f} s. Clients that"
        f" repeat made {len(calls)} calls, the longest of {longest:.1f} s; {repeated} were"
        f" repeated, {len(failures)} failed. A client that repeats nothing, nor lets its library do"
        f" so, made {asked} calls; {len(impatient.failures)} failed, the longest took"
        f" {impatient.longest:.1f} s."
    )
    return Rolled(told, failures, impatient.failures)

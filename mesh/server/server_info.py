"""GetServerInfo: what a server is, what it takes, what it needs and how that is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from artstore.v1 import server_pb2 as pb
from artstore.v1.server_pb2_grpc import ServerServiceServicer
from mesh.calls.services import services
from mesh.contract import CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_PAGE_SIZE
from mesh.errors import ArtStoreError
from mesh.identity.call_limits import LimitTable, MethodLimits
from mesh.server.health import Probe

SERVICE = "artstore.v1.ServerService"
PROBE_SECONDS = 2.0


class ServerInfoServicer(ServerServiceServicer):
    """Answers from memory, and asks each dependency once.

    Attributes:
        dependencies: name -> probe, which raises, or answers False, while it is down.
        serving: full name of a service -> whether it can work.
    """

    def __init__(
        self, kind: pb.ServerKind.ValueType, name: str, limits: LimitTable | None = None
    ) -> None:
        self._kind = kind
        self._limits = LimitTable() if limits is None else limits
        self._name = name
        self._started_at = datetime.now(UTC)
        self.dependencies: dict[str, Probe] = {}
        self.serving: dict[str, bool] = {}

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Any
    ) -> pb.GetServerInfoResponse:
        """See the proto."""
        names = sorted(self.dependencies)
        problems = await asyncio.gather(*(_problem(self.dependencies[name]) for name in names))
        server = pb.ServerInfo(
            kind=self._kind,
            name=self._name,
            version=_version(),
            limits=_told(self._limits, self.serving),
            dependencies=[
                pb.ServerDependency(name=name, available=not problem, problem=problem)
                for name, problem in zip(names, problems, strict=True)
            ],
            services=[
                pb.ServedService(name=name, serving=serving)
                for name, serving in sorted(self.serving.items())
            ],
        )
        server.started_at.FromDatetime(self._started_at)
        server.answered_at.FromDatetime(datetime.now(UTC))
        return pb.GetServerInfoResponse(server=server)


def _told(table: LimitTable, services_here: Iterable[str]) -> pb.ServerLimits:
    server, known = table.server, services()
    here = [
        f"{name}/{method.name}"
        for name in sorted(services_here)
        if name in known
        for method in known[name].methods
    ]
    return pb.ServerLimits(
        max_chunk_size_bytes=MAX_CHUNK_BYTES,
        default_chunk_size_bytes=CHUNK_BYTES,
        max_message_size_bytes=table.largest_request_bytes,
        max_page_size=MAX_PAGE_SIZE,
        max_calls=server.calls,
        max_anonymous_calls=server.anonymous_calls,
        max_waiting_calls_per_address=server.waiting_per_address,
        max_connections=server.connections,
        max_calls_per_connection=server.streams_per_connection,
        handshake_seconds=server.handshake_seconds,
        connection_idle_seconds=server.idle_seconds,
        methods=[_of_method(method, table.of(f"/{method}")) for method in here],
    )


def _of_method(method: str, limits: MethodLimits) -> pb.MethodLimits:
    return pb.MethodLimits(
        method=method,
        max_request_size_bytes=limits.request_bytes,
        max_list_items=limits.list_items,
        max_batch_items=limits.batch_items,
        max_calls=limits.calls,
        max_calls_per_account=limits.calls_per_caller,
        max_calls_per_address=limits.calls_per_address,
        first_message_seconds=limits.first_message_seconds,
        silence_seconds=limits.silence_seconds,
        stuck_write_seconds=limits.stuck_write_seconds,
    )


async def _problem(probe: Probe) -> str:
    """Why it is not available, in words without addresses; empty when it is."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return "it does not work at the moment" if await probe() is False else ""
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:g} s"
    except ArtStoreError as error:
        return error.message
    except Exception:
        return "it does not answer; the server's log says why"


def _version() -> str:
    try:
        return metadata.version("artstore")
    except metadata.PackageNotFoundError:
        return "unknown"

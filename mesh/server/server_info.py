"""GetServerInfo: what a server is, what it takes, what it needs and how that is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from artstore.v1 import server_pb2 as pb
from artstore.v1.server_pb2_grpc import ServerServiceServicer
from mesh.contract import CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES, MAX_PAGE_SIZE
from mesh.errors import ArtStoreError
from mesh.server.health import Probe

SERVICE = "artstore.v1.ServerService"
PROBE_SECONDS = 2.0


class ServerInfoServicer(ServerServiceServicer):
    """Answers from memory, and asks each dependency once.

    Attributes:
        dependencies: name -> probe, which raises, or answers False, while it is down.
        serving: full name of a service -> whether it can work.
    """

    def __init__(self, kind: pb.ServerKind.ValueType, name: str) -> None:
        self._kind = kind
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
            limits=pb.ServerLimits(
                max_chunk_size_bytes=MAX_CHUNK_BYTES,
                default_chunk_size_bytes=CHUNK_BYTES,
                max_message_size_bytes=MAX_MESSAGE_BYTES,
                max_page_size=MAX_PAGE_SIZE,
            ),
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

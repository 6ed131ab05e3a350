"""Asks the servers whether they serve."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2

from mesh.calls.channels import open_mesh_channel
from mesh.settings import MeshSettings

_TIMEOUT_SECONDS = 1.0


class HealthProbe:
    """Health of each server by its name; channels open at the first question.

    Args:
        endpoints: host:port of each.
        settings: with what certificates they are called.
    """

    def __init__(self, endpoints: Mapping[str, str], settings: MeshSettings) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def serving(self, name: str, service: str = "") -> bool:
        """Say whether a service of a server is SERVING, or the server as a whole.

        Waits for up to 1 s.
        """
        if name not in self._channels:
            self._channels[name] = open_mesh_channel(self._endpoints[name], self._settings)
        check = self._channels[name].unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(
                health_pb2.HealthCheckRequest(service=service),
                timeout=_TIMEOUT_SECONDS,
                wait_for_ready=True,
            )
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

"""Channels to other servers: few, long-lived, and quick to notice that a server is back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import grpc

from mesh.calls.renewed_channel import RenewedChannel
from mesh.calls.services import repeatable
from mesh.calls.tls import channel_credentials, channel_files
from mesh.contract import MAX_MESSAGE_BYTES
from mesh.settings import MeshSettings
from mesh.targets import target_of

LOOKAHEAD_BYTES = 1024 * 1024
# Of the frames taken; by default a message comes 16 KiB at a time, each looked at by itself.
FRAME_BYTES = 4 * 1024 * 1024
# A server that is frozen, or cut off, is left after both: then calls go to the other one.
KEEPALIVE_SECONDS = 5.0
SILENCE_SECONDS = 5.0


@cache
def service_config(health_service: str | None = "") -> str:
    """The channel's service config as JSON.

    Args:
        health_service: name asked of the server's health service, "" for the server as a
            whole; None switches health checking off.
    """
    config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [
                    {"service": service, "method": method}
                    for service, methods in repeatable().items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
    }
    if health_service is not None:
        config["healthCheckConfig"] = {"serviceName": health_service}
    return json.dumps(config)


def keepalive_options(idle_seconds: float, silence_seconds: float) -> list[tuple[str, int]]:
    """Drop a connection that said nothing for `idle_seconds`, nor to a ping for so long again.

    gRPC's own `keepalive_timeout_ms` has no effect in 1.85: what counts is the timeout of the
    ping, a minute by default.
    """
    return [
        ("grpc.keepalive_time_ms", int(idle_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(silence_seconds * 1000)),
        ("grpc.http2.ping_timeout_ms", int(silence_seconds * 1000)),
    ]


def channel_options(health_service: str | None = "") -> list[tuple[str, str | int]]:
    """Options of every channel between our servers."""
    return [
        ("grpc.service_config", service_config(health_service)),
        # http_proxy in the surrounding shell is for the web, never for what is inside a mesh.
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
        ("grpc.http2.max_frame_size", FRAME_BYTES),
        *keepalive_options(KEEPALIVE_SECONDS, SILENCE_SECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A name that stands for several servers is looked up again when one of them goes; half a
        # minute later by default, and meanwhile the one that came back would not be known.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # Channels of one process to one server do not share a connection otherwise wanted apart.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def open_channel(
    endpoint: str,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    health_service: str | None = "",
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
) -> grpc.aio.Channel:
    """A channel to `endpoint`; connects in the background, close it when done.

    `endpoint` is host:port, or several servers that do the same (`mesh.targets`): calls take
    turns, and what is not healthy gets none.

    A server that answers NOT_SERVING for `health_service` gets no calls. Give each call a
    timeout: the channel sets none.
    """
    target = target_of(endpoint)
    options = channel_options(health_service)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def open_mesh_channel(
    endpoint: str, settings: MeshSettings, *, health_service: str | None = ""
) -> grpc.aio.Channel:
    """`open_channel` with TLS as the settings say: on when certificates are configured.

    Raises:
        SettingsError: the files of certificates cannot be read, or do not belong together.
    """
    files = channel_files(settings)
    if files is None:
        return open_channel(endpoint, health_service=health_service)
    return RenewedChannel(
        files,
        lambda held: open_channel(
            endpoint, credentials=channel_credentials(held), health_service=health_service
        ),
    )


class KeptChannels:
    """Channels to elements, one for each address: opened at its first use, kept until `close`."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._open: dict[str, grpc.aio.Channel] = {}

    def to(self, endpoint: str) -> grpc.aio.Channel:
        """The channel to host:port."""
        if endpoint not in self._open:
            self._open[endpoint] = open_mesh_channel(endpoint, self._settings)
        return self._open[endpoint]

    async def close(self) -> None:
        """Close them all."""
        for channel in self._open.values():
            await channel.close()
        self._open.clear()

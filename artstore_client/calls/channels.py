"""Channels to the servers of a mesh: one for each use of an endpoint, until the client closes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from artstore_client.calls.proxies import goes_direct, proxy_of
from artstore_client.calls.renewing import RenewingChannel
from artstore_client.calls.services import repeatable_calls
from artstore_client.settings import TlsFiles
from artstore_client.targets import target_of

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Keepalive:
    """When a connection is left: after so long without a word, and then again after a ping."""

    idle_seconds: float
    silence_seconds: float


PATIENT = Keepalive(10.0, 12.0)
"""For what takes uploads: on a slow line the bytes of a file stand before the ping."""
QUICK = Keepalive(3.0, 3.0)
"""For what is only asked: another server is then asked within the time of most calls."""


def service_config() -> str:
    """Retry of idempotent unary calls, turns between addresses, none that is not healthy.

    The health asked for is that of the whole server (the empty name): a service that is down
    answers with a status that says why, a server that leaves is passed over.
    """
    names = [
        {"service": service, "method": method}
        for service, methods in repeatable_calls().items()
        for method in methods
    ]
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": ""},
            "methodConfig": [
                {
                    "name": names,
                    "retryPolicy": {
                        "maxAttempts": 4,
                        "initialBackoff": "0.1s",
                        "maxBackoff": "1s",
                        "backoffMultiplier": 2.0,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ],
        }
    )


def channel_options(
    endpoint: str, *, retries: bool = True, keepalive: Keepalive = PATIENT
) -> list[tuple[str, Any]]:
    """Options of the channel to an endpoint (`artstore_client.targets`).

    A server on this machine is reached without the proxy that the environment names, and so are
    addresses that are given as a list.

    Without the probe of the bandwidth-delay product a stalled stream holds 64 KiB instead of
    megabytes; a stream reads ahead what `lookahead_bytes` says. By default bytes come in frames of
    16 KiB, each looked at by itself.
    """
    return [
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", int(retries)),
        ("grpc.enable_http_proxy", int(not goes_direct(endpoint))),
        ("grpc.keepalive_time_ms", int(keepalive.idle_seconds * 1000)),
        # Without effect in gRPC 1.85, where the timeout of the ping counts, a minute by default.
        ("grpc.keepalive_timeout_ms", int(keepalive.silence_seconds * 1000)),
        ("grpc.http2.ping_timeout_ms", int(keepalive.silence_seconds * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 0),
        # By default half a minute: so long a server that came back would not be known.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.max_receive_message_length", 4 * _MIB),
        ("grpc.max_send_message_length", 4 * _MIB),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _MIB),
        ("grpc.http2.max_frame_size", 4 * _MIB),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
    ]


class Channels:
    """Opens the channels of an endpoint, one for each keepalive, at their first use.

    Args:
        tls: files to verify servers with, and to show to them; None means no TLS.
        retries: repeat idempotent unary calls, at most three times within 2 s.

    Raises:
        ConfigurationError: a file of `tls` can't be read, or does not hold what it should.
    """

    def __init__(self, tls: TlsFiles | None = None, *, retries: bool = True) -> None:
        self._retries = retries
        self._proxy = ""
        self._credentials = None if tls is None else _credentials(tls)
        # One address may be both: a front door takes uploads and answers what is only asked.
        self._open: dict[tuple[str, Keepalive], grpc.aio.Channel] = {}

    def to(self, endpoint: str, keepalive: Keepalive = PATIENT) -> grpc.aio.Channel:
        """The channel with this keepalive to one server, or to several that do the same."""
        channel = self._open.get((endpoint, keepalive))
        if channel is None:
            self._proxy = self._proxy or proxy_of(endpoint)
            channel = self._opened(endpoint, keepalive)
            self._open[endpoint, keepalive] = channel
        return channel

    def _opened(self, endpoint: str, keepalive: Keepalive) -> grpc.aio.Channel:
        options = channel_options(endpoint, retries=self._retries, keepalive=keepalive)
        target = target_of(endpoint)
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return RenewingChannel(
            self._credentials,
            lambda credentials: grpc.aio.secure_channel(target, credentials, options=options),
        ).as_channel()

    def about_proxy(self) -> str:
        """A sentence about the proxy in between, "" when there is none."""
        if not self._proxy:
            return ""
        return f"Beyond this machine connections go through the proxy {self._proxy}."

    async def close(self) -> None:
        """End all calls and connections."""
        channels = list(self._open.values())
        self._open.clear()
        for channel in channels:
            await channel.close()


def _credentials(tls: TlsFiles) -> Callable[[], grpc.ChannelCredentials]:
    # What it stands on takes a while to import, which most commands need not wait for.
    from artstore_client.calls.tls import Credentials

    return Credentials(tls).present

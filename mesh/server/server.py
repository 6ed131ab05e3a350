"""The gRPC server that every part of the mesh is: start, health, reflection, graceful stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from artstore.v1.server_pb2 import ServerKind
from artstore.v1.server_pb2_grpc import add_ServerServiceServicer_to_server
from mesh.calls import tls
from mesh.calls.channels import FRAME_BYTES, keepalive_options
from mesh.calls.tls import CertificateFiles, certificate_files, server_credentials
from mesh.concurrency.background import Background
from mesh.concurrency.loop import ServerLoop
from mesh.contract import MAX_MESSAGE_BYTES
from mesh.errors import ArtStoreError
from mesh.identity.call_limits import LimitTable, transport_options
from mesh.identity.tokens import TokenVerifier
from mesh.private import UMASK, close_to_others
from mesh.server import logs
from mesh.server.descriptors import raise_descriptor_limit
from mesh.server.health import Probe
from mesh.server.interceptors import standard_interceptors
from mesh.server.interceptors.metrics import CallMetrics
from mesh.server.interceptors.refusal_spool import RefusalSpool, Tell, tell_refusals
from mesh.server.interceptors.standing import Standing
from mesh.server.loop_lag import watch_loop_lag
from mesh.server.memory import give_memory_back, keep_memory
from mesh.server.metrics_page import MetricsPage
from mesh.server.reflection import enable_reflection
from mesh.server.server_info import SERVICE as SERVER_SERVICE
from mesh.server.server_info import ServerInfoServicer
from mesh.settings import MeshSettings, SettingsError, load, resolved

S = TypeVar("S", bound=MeshSettings)

DRAIN_SECONDS = 10.0
BEAT_SECONDS = 0.2
# How long the event loop waits at most for a thread that computes, each time it needs the
# interpreter; a call needs it about ten times. Python's own choice is ten times as long.
SWITCH_SECONDS = 0.0005

# Servers that take no bytes of files.
ASKED_ONLY = frozenset({ServerKind.SERVER_KIND_ADMIN, ServerKind.SERVER_KIND_QUERY})
# Beyond a limit by less a caller is told which one it is.
MARGIN_BYTES = 64 * 1024

# Of one stream, of messages that nobody has asked for yet: each caller has so much in our memory.
# One that is asked for comes as a whole.
UNASKED_BYTES = 256 * 1024

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Two processes on one port would share calls without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", UNASKED_BYTES),
    ("grpc.http2.max_frame_size", FRAME_BYTES),
    # Patient: bytes of a download may stand in a client's slow line before the ping.
    *keepalive_options(20.0, 20.0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_log = structlog.stdlib.get_logger(__name__)

_STATUS = health_pb2.HealthCheckResponse


class MeshServer:
    """A `grpc.aio` server with our interceptors, health, reflection and channelz.

    Made by a server's `app.py`, which adds its servicers; started and stopped by `run`, or
    by a test. `start` before use, `stop` exactly once at the end.

    Args:
        settings: where to listen, TLS, metrics port.
        verifier: knows the keys that access tokens are signed with.
        name: in log lines.
        kind: what GetServerInfo says it is for.
    """

    def __init__(
        self,
        settings: MeshSettings,
        verifier: TokenVerifier,
        *,
        name: str = "artstore",
        kind: ServerKind.ValueType = ServerKind.SERVER_KIND_UNSPECIFIED,
    ) -> None:
        self.settings = settings
        self.name = name
        self.port = 0
        self.metrics = CallMetrics()
        self.limits = LimitTable(settings.limits)
        self.info = ServerInfoServicer(kind, name, self.limits)
        self.refusals = RefusalSpool(name, minute_seconds=settings.refusal_seconds)
        self._tell_refusals: Tell | None = None
        self._health = health.aio.HealthServicer()
        self._background = Background()
        self._services: list[str] = []
        self._stopping: asyncio.Task[None] | None = None
        self.gave_up = asyncio.Event()
        self._files: CertificateFiles | None = None
        self._standing = Standing(verifier)
        self._server = grpc.aio.server(
            interceptors=[
                standard_interceptors(
                    verifier, self.metrics, self.refusals, self._standing, self.limits
                )
            ],
            options=[
                *SERVER_OPTIONS,
                *transport_options(self.limits.server),
                ("grpc.max_receive_message_length", _most_bytes(kind, self.limits)),
            ],
        )

    @property
    def endpoint(self) -> str:
        """host:port that others reach this server at; known once started."""
        return self.settings.advertised_endpoint or _place(self.settings.host, self.port)

    def add(
        self, service: str, register: Callable[[Any, grpc.aio.Server], None], servicer: object
    ) -> None:
        """Serve `service` (full name, as `artstore.v1.StorageService`).

        Args:
            register: the generated `add_..._to_server`.
        """
        register(servicer, self._server)
        self._services.append(service)

    def needs(self, name: str, probe: Probe) -> None:
        """Have GetServerInfo tell how something is that this server needs.

        Args:
            probe: raises, or answers False, while it is down or silent.
        """
        self.info.dependencies[name] = probe

    def tell_refusals_to(self, tell: Tell) -> None:
        """Have what this server refuses put on record, as long as it runs.

        Args:
            tell: raises ArtStoreError when it is not on record; it is called again.
        """
        self._tell_refusals = tell

    async def start(self) -> None:
        """Listen. Each added service is SERVING unless `set_serving` says or has said otherwise.

        Raises:
            SettingsError: the port is taken, or the address is not one of this host.
        """
        self.add(SERVER_SERVICE, add_ServerServiceServicer_to_server, self.info)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        channelz.add_channelz_servicer(self._server)
        own = [service.full_name for service in _own_services()]
        enable_reflection([*self._services, *own, reflection.SERVICE_NAME], self._server)
        self._bind()
        for service in ("", *self._services):
            await self.set_serving(service, self.info.serving.get(service, True))
        await self._server.start()
        self._background.start("event loop lag", watch_loop_lag)
        self._background.start("give memory back", give_memory_back)
        self._background.start("calls of suspended accounts", self._standing.watch)
        if self._tell_refusals is not None:
            telling = partial(tell_refusals, self.refusals, self._tell_refusals)
            self._background.start("refusals", telling)
        page = MetricsPage(self.settings, self._files)
        page.open()
        if self._files is not None:
            self._follow_certificates(self._files, page)
        _log.info("listening", endpoint=self.endpoint, services=self._services)

    async def set_serving(self, service: str, serving: bool) -> None:
        """Set the health of one service; "" is the server as a whole."""
        if service:
            self.info.serving[service] = serving
        await self._health.set(service, _STATUS.SERVING if serving else _STATUS.NOT_SERVING)

    def give_up(self, reason: str) -> None:
        """End the process as it ends by SIGTERM, with 1: what it is built on is gone for good, and
        whoever runs it starts it anew.
        """
        _log.error("ends by itself", reason=reason)
        self.gave_up.set()

    async def stop(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """NOT_SERVING, no new calls, let those in flight end, at most `drain_seconds`."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(drain_seconds))
        await asyncio.shield(self._stopping)

    async def _stop(self, drain_seconds: float) -> None:
        await self._health.enter_graceful_shutdown()
        # Clients that watch health turn to others before the listener closes.
        if self.metrics.watches:
            await asyncio.sleep(BEAT_SECONDS)
        closing = asyncio.create_task(self._server.stop(drain_seconds))
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self.metrics.idle()
        # Open watches would hold the first stop for all of its grace.
        await self._server.stop(0.1)
        await closing
        await self._background.stop()
        _log.info("stopped", in_flight=self.metrics.in_flight)

    def _bind(self) -> None:
        address = _place(self.settings.host, self.settings.listen_port)
        self._files = certificate_files(self.settings)
        try:
            if self._files is None:
                self.port = self._server.add_insecure_port(address)
            else:
                credentials = server_credentials(self._files)
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as exc:
            raise SettingsError(f"ARTSTORE_PORT: cannot listen on {address}: {exc}") from exc

    def _follow_certificates(self, files: CertificateFiles, page: MetricsPage) -> None:
        async def look() -> None:
            if await asyncio.to_thread(files.refresh):
                await asyncio.to_thread(page.renew)
                _log.info("certificate read again")

        self._background.every("certificate files", tls.CHECK_SECONDS, look)


def _most_bytes(kind: ServerKind.ValueType, limits: LimitTable) -> int:
    """What grpc takes of one message: it holds all of it before its limit is looked at, of every
    caller that sends one.
    """
    if kind not in ASKED_ONLY:
        return max(MAX_MESSAGE_BYTES, limits.largest_request_bytes + MARGIN_BYTES)
    return limits.largest_question_bytes + MARGIN_BYTES


def _place(host: str, port: int) -> str:
    """host:port, an address of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _own_services() -> list[Any]:
    return [
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        channelz_pb2.DESCRIPTOR.services_by_name["Channelz"],
    ]


Build = Callable[[S], AbstractAsyncContextManager[MeshServer]]


def run(name: str, settings_type: type[S], build: Build[S]) -> NoReturn:
    """`main` of a server: `python -m storage_server [--check-config]`.

    Args:
        name: the server's name in messages and logs.
        settings_type: read from the environment.
        build: async context manager that wires everything and yields a server not yet
            started; what it opened it closes on the way out, after the last call has ended.

    Exits 0 after a stop by SIGTERM or SIGINT, 2 on wrong settings, 1 on anything else, as where the
    server gave up.
    """
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument(
        "--check-config", action="store_true", help="print the resolved settings and exit"
    )
    arguments = parser.parse_args()
    try:
        settings = load(settings_type)
        limits = LimitTable(settings.limits)
    except SettingsError as exc:
        print(f"{name}: wrong settings\n{exc}", file=sys.stderr)
        sys.exit(2)
    if arguments.check_config:
        print(resolved(settings, limits=limits.shown()))
        sys.exit(0)
    os.umask(UMASK)
    for kept in ("keys", "audit"):
        close_to_others(settings.data_dir / kept)
    if settings.log_path is not None:
        # Who collects logs may have been let in by its group.
        close_to_others(settings.log_path, keep=0o070)
    logs.configure(
        server=name,
        level=settings.log_level,
        path=settings.log_path,
        max_bytes=settings.log_max_bytes,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    keep_memory()
    raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=ServerLoop) as runner:
            gave_up = runner.run(serve(settings, build))
    except (ArtStoreError, SettingsError) as exc:
        _log.error("could not start", reason=str(exc))
        sys.exit(1)
    except Exception:
        _log.exception("ended by an unforeseen exception")
        sys.exit(1)
    sys.exit(1 if gave_up else 0)


async def serve(settings: S, build: Build[S]) -> bool:
    """Build, start, serve until SIGTERM or SIGINT, drain, close. Whether the server gave up.

    A signal before the server has started, and a second one while it drains, cut short.
    """
    stop = asyncio.Event()
    started = asyncio.Event()
    work = asyncio.create_task(_serve_until(settings, build, started, stop))

    def on_signal() -> None:
        if stop.is_set() or not started.is_set():
            work.cancel()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        return await work
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        return False


async def _serve_until(
    settings: S, build: Build[S], started: asyncio.Event, stop: asyncio.Event
) -> bool:
    async with build(settings) as server:
        await server.start()
        started.set()
        # What lives as long as the process need not be looked at by the collector again.
        gc.collect()
        gc.freeze()
        ends = [asyncio.create_task(one.wait()) for one in (stop, server.gave_up)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await server.stop()
    return server.gave_up.is_set()

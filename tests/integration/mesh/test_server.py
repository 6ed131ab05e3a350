"""Start, health, graceful stop, and the command line of a server."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from artstore.v1 import changes_pb2, storage_pb2
from mesh.calls.channels import open_channel
from mesh.identity.tokens import KeySet, TokenVerifier
from mesh.server import server
from mesh.server.health import HealthWatcher
from mesh.server.server import MeshServer
from mesh.settings import MeshSettings, SettingsError
from tests.integration.mesh.serving import STORAGE, serving, upload_chunk
from tests.support.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ROOT = Path(__file__).parents[3]

PROGRAM = """
from contextlib import asynccontextmanager
from mesh.server.server import MeshServer, run
from mesh.settings import MeshSettings
from mesh.identity.tokens import KeySet, TokenVerifier

@asynccontextmanager
async def build(settings):
    print("opened", flush=True)
    yield MeshServer(settings, TokenVerifier(KeySet()))
    print("closed", flush=True)

run("probe", MeshSettings, build)
"""


async def probe(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/gen", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_health_of_a_service_follows_its_probe() -> None:
    async with serving() as mesh:
        answers = {"up": True}

        async def dependency() -> bool:
            return answers["up"]

        async def broken() -> bool:
            if not answers["up"]:
                raise OSError("no route")
            return True

        watcher = HealthWatcher(mesh.server, [(STORAGE, dependency), ("other", broken)])
        health: Any = health_pb2_grpc.HealthStub(mesh.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=STORAGE))
        assert (await watch.read()).status == SERVING
        answers["up"] = False
        await watcher.look()
        assert (await watch.read()).status == NOT_SERVING
        other = await health.Check(health_pb2.HealthCheckRequest(service="other"))
        whole = await health.Check(health_pb2.HealthCheckRequest(service=""))
        assert (other.status, whole.status) == (NOT_SERVING, SERVING)
        answers["up"] = True
        await watcher.look()
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_a_probe_that_never_answers_counts_as_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.server.health.PROBE_TIMEOUT_SECONDS", 0.05)
    verdicts: dict[str, bool] = {}

    class Sink:
        async def set_serving(self, service: str, serving: bool) -> None:
            verdicts[service] = serving

    async def silent() -> None:
        await asyncio.Event().wait()

    await HealthWatcher(Sink(), [("s", silent)]).look()
    assert verdicts == {"s": False}


async def test_what_is_down_is_looked_at_more_often() -> None:
    verdicts: list[bool] = []

    class Sink:
        async def set_serving(self, service: str, serving: bool) -> None:
            verdicts.append(serving)

    looks = 0

    async def comes_up_late() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    watcher = HealthWatcher(Sink(), [("s", comes_up_late)], 3600.0, 0.001)
    watching = asyncio.create_task(watcher.watch())
    await until(lambda: verdicts == [False, True])
    watching.cancel()
    assert looks == 4


async def test_a_stop_lets_a_running_upload_end_and_cuts_watches() -> None:
    async with serving() as mesh:
        watch = mesh.stub.WatchChanges(
            changes_pb2.WatchChangesRequest(), metadata=mesh.bearer(role="SERVICE")
        )
        await watch.read()
        mesh.storage.entered.clear()
        upload = mesh.stub.Upload(metadata=mesh.bearer(role="SERVICE"))
        await upload.write(upload_chunk())
        await mesh.storage.entered.wait()
        stopping = asyncio.create_task(mesh.server.stop(drain_seconds=10))
        await asyncio.sleep(0.4)
        assert not stopping.done()
        await upload.write(upload_chunk())
        await upload.done_writing()
        assert (await upload).change_token == "2"
        started = time.perf_counter()
        await stopping
        assert time.perf_counter() - started < 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while True:
                await watch.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_stop_does_not_wait_for_ever() -> None:
    async with serving() as mesh:
        upload = mesh.stub.Upload(metadata=mesh.bearer(role="SERVICE"))
        await upload.write(upload_chunk())
        await mesh.storage.entered.wait()
        async with asyncio.timeout(5):
            await mesh.server.stop(drain_seconds=0.3)
        assert await upload.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_stopping_server_says_not_serving_first() -> None:
    async with serving() as mesh:
        health: Any = health_pb2_grpc.HealthStub(mesh.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=STORAGE))
        await watch.read()
        stopping = asyncio.create_task(mesh.server.stop())
        assert (await watch.read()).status == NOT_SERVING
        await stopping


async def test_a_server_whose_health_nobody_watches_stops_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "BEAT_SECONDS", 60.0)
    async with serving() as mesh:
        request = storage_pb2.StorageServiceGetFileRequest(file_id="f")
        await mesh.stub.GetFile(request, metadata=mesh.bearer())
        async with asyncio.timeout(20):
            await mesh.server.stop()


async def test_two_servers_do_not_share_a_port() -> None:
    async with serving() as mesh:
        with pytest.raises(SettingsError, match=str(mesh.server.port)):
            async with serving(port=mesh.server.port):
                raise AssertionError("started on a taken port")


@pytest.mark.parametrize("host", ["fd00::a:b", "[fd00::a:b]"])
async def test_an_address_of_ipv6_is_told_from_the_port_behind_it(host: str) -> None:
    process = await probe(ARTSTORE_HOST=host, ARTSTORE_PORT="8765")
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"cannot listen on [fd00::a:b]:8765" in errors
    unstarted = MeshServer(MeshSettings(host=host), TokenVerifier(KeySet()))
    assert unstarted.endpoint == "[fd00::a:b]:0"


async def test_our_channel_reaches_it_and_comes_back_after_a_restart() -> None:
    async with serving() as first:
        port = first.server.port
        channel = open_channel(f"localhost:{port}")
        stub = type(first.stub)(channel)
        request = storage_pb2.StorageServiceGetFileRequest(file_id="f")
        await stub.GetFile(request, metadata=first.bearer(), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetFile(request, metadata=first.bearer(), timeout=2)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    async with serving(port=port) as second:
        started = time.perf_counter()
        await stub.GetFile(request, metadata=second.bearer(), timeout=5, wait_for_ready=True)
        assert time.perf_counter() - started < 3
    await channel.close()


async def test_an_idempotent_unary_call_is_repeated_and_an_update_is_not() -> None:
    async with serving() as mesh:
        channel = open_channel(mesh.server.endpoint)
        stub = type(mesh.stub)(channel)

        async def once_unavailable(context: Any) -> None:
            if len(mesh.storage.seen) == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

        mesh.storage.on_call = once_unavailable
        request = storage_pb2.StorageServiceGetFileRequest(file_id="f")
        await stub.GetFile(request, metadata=mesh.bearer(), timeout=5)
        assert len(mesh.storage.seen) == 2
        mesh.storage.seen.clear()
        upload = stub.Upload(iter([]), metadata=mesh.bearer(role="ADMIN"), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError):
            await upload
        assert len(mesh.storage.seen) == 1
        await channel.close()


async def test_metrics_are_served_and_move() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    async with serving(metrics_port=port) as mesh:
        request = storage_pb2.StorageServiceGetFileRequest(file_id="f")
        await mesh.stub.GetFile(request, metadata=mesh.bearer())
        with pytest.raises(grpc.aio.AioRpcError):
            await mesh.stub.GetFile(request)
        page = await asyncio.to_thread(
            lambda: urllib.request.urlopen(f"http://localhost:{port}/metrics").read().decode()
        )
    method = f'method="/{STORAGE}/GetFile"'
    for line in (
        f'artstore_calls_total{{code="OK",{method}}}',
        f'artstore_calls_total{{code="UNAUTHENTICATED",{method}}}',
        f"artstore_call_duration_seconds_count{{{method}}}",
        "artstore_calls_in_flight",
        "artstore_event_loop_lag_seconds_count",
        'artstore_log_lines_total{level="error"}',
    ):
        assert line in page


def lags(longer_than: float | None = None) -> float:
    """How many lags this process has noticed."""
    name = "artstore_event_loop_lag_seconds"
    count = REGISTRY.get_sample_value(f"{name}_count") or 0.0
    if longer_than is None:
        return count
    return count - (REGISTRY.get_sample_value(f"{name}_bucket", {"le": str(longer_than)}) or 0.0)


async def test_the_loop_lag_is_noticed() -> None:
    seen, long = lags(), lags(longer_than=0.1)
    async with serving():
        await until(lambda: lags() > seen)
        time.sleep(0.15)  # noqa: ASYNC251 - the fault that is to be seen
        await until(lambda: lags(longer_than=0.1) > long)


async def test_a_loop_that_is_held_between_two_looks_is_noticed() -> None:
    async with serving():
        seen = lags()
        # The second is a look that follows a pause.
        await until(lambda: lags() > seen + 1)
        long = lags(longer_than=0.1)
        time.sleep(0.15)  # noqa: ASYNC251 - the fault that is to be seen
        await until(lambda: lags(longer_than=0.1) > long)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_a_server_in_good_order(number: signal.Signals) -> None:
    process = await probe(ARTSTORE_PORT="0")
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while b"listening" not in (line := await process.stderr.readline()):
            assert line, "ended without listening"
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        process.send_signal(number)
        out, _ = await process.communicate()
    assert out == b"opened\nclosed\n"
    assert process.returncode == 0


async def test_check_config_prints_settings_without_secrets() -> None:
    process = await probe(
        "--check-config",
        ARTSTORE_CLIENT_SECRET="hush-hush",
        ARTSTORE_DATABASE_URL="postgresql://u:hush-hush@db/artstore",
        ARTSTORE_PORT="8010",
        ARTSTORE_LIMITS='{"artstore.v1.StorageService/GetFile": {"calls_per_caller": 7}}',
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    shown = json.loads(out)
    assert shown["ARTSTORE_LIMITS"]["artstore.v1.StorageService/GetFile"] == {"calls_per_caller": 7}
    assert shown["ARTSTORE_LIMITS"]["*"]["request_bytes"] == 65536
    assert shown["ARTSTORE_PORT"] == 8010
    assert shown["ARTSTORE_DATABASE_URL"] == "postgresql://u:***@db/artstore"
    assert b"hush-hush" not in out


async def test_wrong_settings_are_named_with_their_values() -> None:
    process = await probe("--check-config", ARTSTORE_PORT="99999", ARTSTORE_LOG_LEVEL="chatty")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"ARTSTORE_PORT='99999'" in err
    assert b"ARTSTORE_LOG_LEVEL='chatty'" in err


async def test_limits_that_make_no_sense_stop_a_server_with_what_is_wrong() -> None:
    process = await probe(ARTSTORE_LIMITS='{"*": {"calls": 0}}')
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"ARTSTORE_LIMITS: calls of '*' is 0: not a whole number above 0" in err

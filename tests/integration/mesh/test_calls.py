"""What every call goes through, on a real server: who may, which status, which details."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from structlog.testing import capture_logs

from artstore.v1 import changes_pb2, downloads_pb2, storage_pb2
from mesh.calls.status import INTERNAL_TEXT
from mesh.errors import Aborted, ArtStoreError, InvalidArgument, NotFound, Unavailable
from tests.integration.mesh.serving import STORAGE, Serving, serving, upload_chunk
from tests.support.token_issuer import Signer
from tests.support.waiting import until

GET_FILE = storage_pb2.StorageServiceGetFileRequest(file_id="f")
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def mesh() -> AsyncIterator[Serving]:
    async with serving() as made:
        yield made


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def details_of(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    for detail in status.details:
        found = kind()
        if detail.Unpack(found):
            return found
    raise AssertionError(f"no {kind.__name__} in {status}")


async def raising(mesh: Serving, error: BaseException) -> grpc.aio.AioRpcError:
    async def on_call(context: Any) -> None:
        raise error

    mesh.storage.on_call = on_call
    return await refusal(mesh.stub.GetFile(GET_FILE, metadata=mesh.bearer()))


async def test_a_good_token_gets_through(mesh: Serving) -> None:
    answer = await mesh.stub.GetFile(GET_FILE, metadata=mesh.bearer())
    assert answer.file.file_id == "f"
    caller, peer, upload_token = mesh.storage.seen[0]
    assert (caller.subject, caller is peer, upload_token) == ("alice", True, "")


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        (lambda m: (), UNAUTHENTICATED, "TOKEN_MISSING"),
        (lambda m: (("authorization", "Basic abc"),), UNAUTHENTICATED, "TOKEN_MALFORMED"),
        (lambda m: (("authorization", "Bearer "),), UNAUTHENTICATED, "TOKEN_MALFORMED"),
        (lambda m: m.bearer(exp=int(time.time()) - 1), UNAUTHENTICATED, "TOKEN_EXPIRED"),
        (lambda m: m.bearer(aud="other"), UNAUTHENTICATED, "TOKEN_AUDIENCE"),
        (lambda m: m.bearer(header={"kid": "other"}), UNAUTHENTICATED, "TOKEN_KEY"),
        (lambda m: m.bearer(role="OVERLORD"), DENIED, "UNKNOWN_ROLE"),
    ],
)
async def test_a_token_that_does_not_verify_is_refused(
    mesh: Serving, metadata: Any, code: grpc.StatusCode, reason: str
) -> None:
    error = await refusal(mesh.stub.GetFile(GET_FILE, metadata=metadata(mesh)))
    assert error.code() == code
    info = details_of(error, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("artstore", reason)
    assert mesh.storage.seen == []


@pytest.mark.parametrize(
    "key", ["authorization", "artstore-caller", "artstore-upload-token", "artstore-ticket"]
)
async def test_what_says_who_calls_is_said_once(mesh: Serving, key: str) -> None:
    good = mesh.bearer(role="SERVICE", ns_read=["*"], ns_write=["*"])
    caller = ("artstore-caller", mesh.signer.token())
    metadata = (*good, caller, ("artstore-upload-token", "t"), ("artstore-ticket", "t"))
    await mesh.stub.GetFile(GET_FILE, metadata=metadata)
    again = (key, dict(metadata)[key])
    error = await refusal(mesh.stub.GetFile(GET_FILE, metadata=(*metadata, again)))
    assert error.code() == UNAUTHENTICATED
    assert details_of(error, error_details_pb2.ErrorInfo).reason == "TOKEN_MALFORMED"
    # What says nothing of that may come as often as it likes.
    await mesh.stub.GetFile(GET_FILE, metadata=(*metadata, ("x-tag", "a"), ("x-tag", "b")))


async def test_the_caller_behind_a_server_has_the_role_for_the_call_itself(mesh: Serving) -> None:
    server = mesh.bearer(sub="ingest", role="SERVICE", ns_read=["*"], ns_write=["*"])

    def behind(role: str) -> Any:
        return (*server, ("artstore-caller", mesh.signer.token(role=role)))

    for role, denied in (("USER", False), ("READONLY", True), ("AUDITOR", True)):
        update = storage_pb2.UpdateFileRequest(file_id="f")
        error = await refusal(mesh.stub.UpdateFile(update, metadata=behind(role)))
        assert (error.code() == DENIED) is denied, role
        upload = mesh.stub.Upload(iter([]), metadata=behind(role))
        if denied:
            assert (await refusal(upload)).code() == DENIED
        else:
            assert (await upload).change_token == "0"
    await mesh.stub.GetFile(GET_FILE, metadata=behind("READONLY"))


async def test_a_role_too_low_is_denied_before_the_handler_runs(mesh: Serving) -> None:
    low = mesh.bearer(role="READONLY")
    unary = await refusal(mesh.stub.SetMode(storage_pb2.SetModeRequest(), metadata=low))
    watch = mesh.stub.WatchChanges(changes_pb2.WatchChangesRequest(), metadata=low)
    streamed = await refusal(watch.read())
    both = mesh.channel.stream_stream("/artstore.v1.StorageService/Unheard")
    unknown = await refusal(both(iter([b"x"]), metadata=mesh.bearer(role="ADMIN")).read())
    assert unary.code() == streamed.code() == DENIED
    assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED
    assert mesh.storage.seen == []


async def test_a_method_that_the_table_does_not_know_is_denied_to_all(mesh: Serving) -> None:
    echo = mesh.channel.stream_stream("/test.Unlisted/Echo")
    for _ in range(10):
        call = echo(iter([b"x"] * 64), metadata=mesh.bearer(role="ADMIN"))
        assert (await refusal(call.read())).code() == DENIED


@pytest.mark.parametrize("style", ["write", "generator"])
async def test_a_client_that_streams_without_waiting_sees_why_it_was_denied(
    mesh: Serving, style: str
) -> None:
    async def endless() -> AsyncIterator[Any]:
        for _ in range(64):
            yield upload_chunk()

    for _ in range(10):
        low = mesh.bearer(role="USER")
        if style == "generator":
            error = await refusal(mesh.stub.Upload(endless(), metadata=low))
        else:
            call = mesh.stub.Upload(metadata=low)

            async def write_all(call: Any = call) -> Any:
                for _ in range(64):
                    await call.write(upload_chunk())
                await call.done_writing()
                return await call

            error = await refusal(write_all())
        assert error.code() == DENIED
    assert mesh.storage.seen == []


async def test_a_client_that_waits_for_the_go_is_denied_at_once(mesh: Serving) -> None:
    call = mesh.stub.Upload(metadata=mesh.bearer(role="USER"))
    await call.write(upload_chunk(10))
    started = time.perf_counter()
    await call.initial_metadata()
    assert await call.code() == DENIED
    assert time.perf_counter() - started < 1.0


async def test_an_error_in_the_middle_of_an_upload_reaches_a_client_that_still_writes(
    mesh: Serving,
) -> None:
    async def on_call(context: Any) -> None:
        await context.read()
        raise InvalidArgument("name is empty", field="header.original_filename")

    mesh.storage.on_call = on_call

    async def some() -> AsyncIterator[Any]:
        for _ in range(64):
            yield upload_chunk()

    error = await refusal(mesh.stub.Upload(some(), metadata=mesh.bearer(role="SERVICE")))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_user_is_the_caller_when_a_server_passes_the_call_on(mesh: Serving) -> None:
    user = mesh.signer.token(sub="bob", role="USER", ns_write=["b"])
    metadata = (
        *mesh.bearer(sub="ingest", role="SERVICE", ns_read=["*"], ns_write=["*"]),
        ("artstore-caller", user),
        ("artstore-upload-token", "secret"),
    )
    await mesh.stub.Upload(iter([upload_chunk()]), metadata=metadata)
    caller, peer, upload_token = mesh.storage.seen[0]
    assert (caller.subject, caller.role.value, caller.may_write("c")) == ("bob", "USER", False)
    assert (peer.subject, peer.role.value) == ("ingest", "SERVICE")
    assert upload_token == "secret"


async def test_a_user_cannot_speak_for_another(mesh: Serving) -> None:
    metadata = (*mesh.bearer(), ("artstore-caller", mesh.signer.token(sub="bob")))
    await mesh.stub.GetFile(GET_FILE, metadata=metadata)
    assert mesh.storage.seen[0][0].subject == "alice"


async def test_a_passed_on_caller_must_verify_too(mesh: Serving) -> None:
    metadata = (*mesh.bearer(role="SERVICE"), ("artstore-caller", Signer("k1").token()))
    error = await refusal(mesh.stub.GetFile(GET_FILE, metadata=metadata))
    assert error.code() == UNAUTHENTICATED


async def test_what_nobody_foresaw_leaves_as_a_fixed_text(mesh: Serving) -> None:
    with capture_logs() as lines:
        error = await raising(mesh, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "secret detail"))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == INTERNAL_TEXT
    logged = [line for line in lines if line["log_level"] == "error"]
    assert len(logged) == 1
    assert isinstance(logged[0]["exc_info"], UnicodeDecodeError)


async def test_a_wrong_field_is_named(mesh: Serving) -> None:
    error = await raising(mesh, InvalidArgument("too long", field="header.description"))
    bad = details_of(error, error_details_pb2.BadRequest)
    assert bad.field_violations[0].field == "header.description"


async def test_unavailable_says_when_to_come_back(mesh: Serving) -> None:
    error = await raising(mesh, Unavailable("database is down", retry_after_seconds=2.5))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    retry = details_of(error, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 2500


async def test_a_refused_lock_names_its_holder(mesh: Serving) -> None:
    metadata = {"holder": "h1", "operation": "rebuild", "since": "s", "expires": "e"}
    error = await raising(mesh, Aborted("busy", reason="LOCK_HELD", metadata=metadata))
    info = details_of(error, error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("LOCK_HELD", metadata)


async def test_details_too_large_for_metadata_do_not_hide_the_status(mesh: Serving) -> None:
    big = NotFound("ф" * 20_000, metadata={str(n): "x" * 1000 for n in range(20)})
    error = await raising(mesh, big)
    assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_a_status_of_another_server_is_passed_on(mesh: Serving) -> None:
    inner = await raising(mesh, Aborted("taken", reason="TAKEN_OVER", metadata={"holder": "x"}))
    outer = await raising(mesh, inner)
    assert (outer.code(), outer.details()) == (inner.code(), "taken")
    info = details_of(outer, error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("TAKEN_OVER", {"holder": "x"})


@pytest.mark.parametrize("kind", ArtStoreError.__subclasses__())
async def test_each_exception_has_its_status(mesh: Serving, kind: type[ArtStoreError]) -> None:
    error = await raising(mesh, kind("said so"))
    name = error.code().name.replace("_", "").lower()
    assert (name, error.details()) == (kind.__name__.lower(), "said so")


async def test_a_request_id_comes_back_and_stands_in_the_log(mesh: Serving) -> None:
    with capture_logs() as lines:
        call = mesh.stub.GetFile(GET_FILE, metadata=(*mesh.bearer(), ("x-request-id", "abc-1")))
        await call
        assert ("x-request-id", "abc-1") in tuple(await call.trailing_metadata())
        failed = await refusal(mesh.stub.GetFile(GET_FILE, metadata=(("x-request-id", "abc-2"),)))
        assert ("x-request-id", "abc-2") in tuple(failed.trailing_metadata())
        strange = mesh.stub.GetFile(GET_FILE, metadata=(*mesh.bearer(), ("x-request-id", "a b{")))
        await strange
        made = dict(await strange.trailing_metadata())["x-request-id"]
        assert made != "a b{"
    line = next(line for line in lines if line["event"] == "call")
    assert line["method"] == f"/{STORAGE}/GetFile"
    assert (line["caller"], line["status"]) == ("alice", "OK")
    assert line["duration_seconds"] < 1


async def test_the_line_of_a_call_holds_no_name_whole_or_cut_off(mesh: Serving) -> None:
    stored = f"{'secret' * 20}_alice_20260102T030405_01923456-89ab-7cde-8f01-23456789abcd.txt"
    silent = Unavailable(f"{'no answer ' * 20}/2026/01/02/03/{stored}: why")
    silent.__cause__ = OSError(f"{'no answer ' * 45}/2026/01/02/03/{stored}: why")
    wrong = NotFound("no file 'secret.pdf'")
    wrong.__cause__ = ValueError("not to be read: b'secret'\nDETAIL: secret")
    with capture_logs() as lines:
        for error in (silent, wrong):
            inner = await raising(mesh, error)
            await raising(mesh, inner)
    assert [line["status"] for line in lines] == ["UNAVAILABLE"] * 2 + ["NOT_FOUND"] * 2
    assert "secret" not in str(lines)


async def test_a_reader_that_leaves_ends_both_shapes_of_response_stream(mesh: Serving) -> None:
    download = mesh.stub.Download(
        downloads_pb2.DownloadRequest(length=1_000_000), metadata=mesh.bearer()
    )
    await download.read()
    download.cancel()
    watch = mesh.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(), metadata=mesh.bearer(role="SERVICE")
    )
    for _ in range(3):
        await watch.read()
    watch.cancel()
    await until(lambda: set(mesh.storage.ended) == {"Download", "WatchChanges"})


async def test_a_reader_that_leaves_is_no_error_in_the_log(mesh: Serving) -> None:
    with capture_logs() as lines:
        for _ in range(10):
            download = mesh.stub.Download(
                downloads_pb2.DownloadRequest(length=100_000), metadata=mesh.bearer()
            )
            await download.read()
            download.cancel()
        await until(lambda: len([line for line in lines if line["event"] == "call"]) == 10)
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert {line["status"] for line in lines if line["event"] == "call"} == {"CANCELLED"}


async def test_a_message_over_the_limit_is_refused(mesh: Serving) -> None:
    upload = mesh.stub.Upload(
        iter([upload_chunk(5 * 1024 * 1024)]), metadata=mesh.bearer(role="SERVICE")
    )
    assert (await refusal(upload)).code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_chunk_of_two_mebibytes_fits(mesh: Serving) -> None:
    upload = mesh.stub.Upload(
        iter([upload_chunk(2 * 1024 * 1024)]), metadata=mesh.bearer(role="SERVICE")
    )
    assert (await upload).change_token == "1"


async def test_health_and_reflection_need_no_token_and_channelz_an_admin(mesh: Serving) -> None:
    health: Any = health_pb2_grpc.HealthStub(mesh.channel)
    for name in ("", STORAGE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    outdated = mesh.bearer(exp=int(time.time()) - 1)
    await health.Check(health_pb2.HealthCheckRequest(), metadata=outdated)

    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(mesh.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    listed = await reflection.ServerReflectionInfo(iter([asked])).read()
    names = {service.name for service in listed.list_services_response.service}
    assert {STORAGE, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= names

    channelz: Any = channelz_pb2_grpc.ChannelzStub(mesh.channel)
    request = channelz_pb2.GetServersRequest()
    denied = await refusal(channelz.GetServers(request, metadata=mesh.bearer()))
    assert denied.code() == DENIED
    await channelz.GetServers(request, metadata=mesh.bearer(role="ADMIN", ns_read=["*"]))

"""Update, delete, undelete: the sidecar decides, and nothing is half done."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import storage_pb2, transfers_pb2, transfers_pb2_grpc, types_pb2
from mesh.calls.status import from_rpc_error
from mesh.errors import Unavailable
from storage_server.catalog.writes import Writes
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until

Code = grpc.StatusCode
File = types_pb2.File


async def _update(node: Node, file_id: str, mask: list[str] | None = None, **values: Any) -> Any:
    claims = values.pop("claims", {})
    request = storage_pb2.UpdateFileRequest(
        file_id=file_id,
        expected_revision=values.pop("expected_revision", None),
        update_mask=FieldMask(paths=mask or []),
        file=File(**values),
    )
    return await node.call("UpdateFile", request, **claims)


async def _delete(node: Node, file_id: str, revision: int | None = None, **claims: Any) -> Any:
    request = storage_pb2.DeleteFileRequest(file_id=file_id, expected_revision=revision)
    return await node.call("DeleteFile", request, **claims)


async def _undelete(node: Node, file_id: str, revision: int | None = None, **claims: Any) -> Any:
    request = storage_pb2.UndeleteFileRequest(file_id=file_id, expected_revision=revision)
    return await node.call("UndeleteFile", request, **claims)


def _sidecar_path(node: Node, file: types_pb2.File) -> Path:
    return node.rig.root / file.storage_path / f"{file.storage_filename}.attr.json"


async def test_an_update_changes_sidecar_and_row(shared: Node) -> None:
    file = (await shared.upload(description="old", tags=["a"])).file
    answer = await _update(
        shared, file.file_id, description="new", tags=["b", "c"], attributes={"k": "v"}
    )
    assert answer.change_token
    assert answer.file.revision == 2
    found = await shared.get(file.file_id)
    assert (found.description, list(found.tags)) == ("new", ["b", "c"])
    assert dict(found.attributes) == {"k": "v"}
    assert found.storage_filename == file.storage_filename
    assert await shared.download(file.file_id) == b"hello"


async def test_a_mask_can_empty_a_field_and_leaves_the_others(shared_local: Node) -> None:
    file = (await shared_local.upload(description="old", version="1")).file
    answer = await _update(shared_local, file.file_id, ["description"], version="2")
    assert (answer.file.description, answer.file.version) == ("", "1")


async def test_a_new_name_is_not_a_new_place(shared_local: Node) -> None:
    file = (await shared_local.upload(original_filename="old.txt")).file
    answer = await _update(shared_local, file.file_id, original_filename="new.txt")
    assert answer.file.original_filename == "new.txt"
    assert answer.file.storage_filename == file.storage_filename


async def test_other_retention_days_move_the_expiry(shared_local: Node) -> None:
    file = (await shared_local.upload()).file
    answer = await _update(shared_local, file.file_id, retention_days=60)
    assert answer.file.expires_at.seconds == file.created_at.seconds + 60 * 86400


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (["sha256"], {}),
        (["nonsense"], {}),
        ([], {}),
        ([], {"sha256": "0" * 64}),
        (["original_filename"], {}),
        ([], {"description": "d" * 3072}),
        ([], {"description": "a\0b"}),
        ([], {"retention_days": -1}),
        (["retention_days"], {}),
    ],
)
async def test_a_bad_update_changes_nothing(
    shared_local: Node, mask: list[str], values: dict[str, Any]
) -> None:
    file = (await shared_local.upload()).file
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _update(shared_local, file.file_id, mask, **values)
    assert error.value.code() == Code.INVALID_ARGUMENT
    assert (await shared_local.get(file.file_id)).revision == 1


async def test_expected_revision_is_compared_with_the_sidecar_not_the_row(
    local_rig: Rig,
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
        path = _sidecar_path(node, file)
        path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"revision": 7}))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _update(node, file.file_id, expected_revision=1, description="x")
        assert error.value.code() == Code.ABORTED
        answer = await _update(node, file.file_id, expected_revision=7, description="x")
        assert answer.file.revision == 8


async def test_of_updates_at_the_same_time_with_one_revision_one_wins(shared: Node) -> None:
    file = (await shared.upload()).file
    answers = await asyncio.gather(
        *(
            _update(shared, file.file_id, expected_revision=1, description=str(number))
            for number in range(6)
        ),
        return_exceptions=True,
    )
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(won) == 1
    codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert codes == {Code.ABORTED}
    assert (await shared.get(file.file_id)).description == won[0].file.description


async def test_a_held_file_is_not_deleted_and_the_hold_is_no_users_field(
    shared_local: Node,
) -> None:
    file = (await shared_local.upload()).file
    for asked in ({"legal_hold": True}, {"legal_hold": True, "description": "x"}):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _update(shared_local, file.file_id, **asked)
        assert error.value.code() == Code.INVALID_ARGUMENT
    for role in ("USER", "SERVICE"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _hold(shared_local, file.file_id, True, role=role)
        assert error.value.code() == Code.PERMISSION_DENIED
    assert (await _hold(shared_local, file.file_id, True)).file.legal_hold
    assert (await _hold(shared_local, file.file_id, True)).file.revision == 2
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _delete(shared_local, file.file_id)
    assert error.value.code() == Code.FAILED_PRECONDITION
    assert not (await _hold(shared_local, file.file_id, False)).file.legal_hold
    await _delete(shared_local, file.file_id)


async def test_a_hold_is_refused_when_the_file_is_another_or_the_word_is_old(
    shared_local: Node,
) -> None:
    file = (await shared_local.upload()).file
    old, ahead = (Timestamp(seconds=int(time.time()) + add) for add in (-120, 30))
    for condition, reason in (
        ({"digest": "00" * 16}, "REVISION_CONFLICT"),
        ({"digest": ""}, "REVISION_CONFLICT"),
        ({"decided_at": old}, "STALE"),
        ({"decided_at": ahead}, "STALE"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _hold(shared_local, file.file_id, True, **condition)
        assert error.value.code() == Code.ABORTED
        assert from_rpc_error(error.value).reason == reason


async def test_a_hold_that_was_taken_already_is_answered_whatever_the_digest(
    shared_local: Node,
) -> None:
    file = (await shared_local.upload()).file
    held = (await _hold(shared_local, file.file_id, True)).file
    again = (await _hold(shared_local, file.file_id, True, digest="00" * 16)).file
    assert (again.legal_hold, again.revision) == (True, held.revision)


async def _hold(node: Node, file_id: str, legal_hold: bool, **condition: Any) -> Any:
    """As admin asks for it, on behalf of an account with `role` (ADMIN)."""
    role = condition.pop("role", "ADMIN")
    request = transfers_pb2.HoldRequest(
        condition=transfers_pb2.Condition(file_id=file_id, **condition), legal_hold=legal_hold
    )
    stub: Any = transfers_pb2_grpc.TransferServiceStub(node.channel)
    caller = ("artstore-caller", node.token(role=role, sub="root"))
    metadata = (*node.bearer(role="SERVICE"), caller)
    return await stub.Hold(request, metadata=metadata, timeout=10)


async def test_a_file_is_made_permanent_once_whatever_the_digest_then(shared_local: Node) -> None:
    file = (await shared_local.upload()).file
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _make_permanent(shared_local, file.file_id, digest="00" * 16)
    assert error.value.code() == Code.ABORTED
    made = await _make_permanent(shared_local, file.file_id)
    assert made.file.retention_policy == types_pb2.RETENTION_POLICY_PERMANENT
    assert not made.file.HasField("expires_at")
    assert (made.file.retention_days, made.file.revision) == (0, 2)
    assert made.change_token
    again = await _make_permanent(shared_local, file.file_id, digest="00" * 16)
    assert again.file.revision == 2


async def test_a_file_is_made_permanent_for_those_alone_who_may_write_to_it(
    shared_local: Node,
) -> None:
    file = (await shared_local.upload()).file
    for caller, code in (
        ({"role": "SERVICE"}, Code.PERMISSION_DENIED),
        ({"role": "READONLY"}, Code.PERMISSION_DENIED),
        ({"ns_read": ["other"]}, Code.NOT_FOUND),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _make_permanent(shared_local, file.file_id, **caller)
        assert error.value.code() == code
    assert (await shared_local.get(file.file_id)).revision == 1


async def _make_permanent(
    node: Node, file_id: str, *, digest: str | None = None, **who: Any
) -> Any:
    """As admin asks for it, on behalf of a USER."""
    condition = transfers_pb2.Condition(file_id=file_id, digest=digest)
    condition.decided_at.GetCurrentTime()
    stub: Any = transfers_pb2_grpc.TransferServiceStub(node.channel)
    caller = ("artstore-caller", node.token(**{"role": "USER", "sub": "alice", **who}))
    return await stub.MakePermanent(
        transfers_pb2.MakePermanentRequest(condition=condition),
        metadata=(*node.bearer(role="SERVICE"), caller),
        timeout=10,
    )


async def test_a_deleted_file_is_gone_and_comes_back(shared: Node) -> None:
    file = (await shared.upload(b"precious")).file
    before = (await shared.list()).total_size
    tombstone = (await _delete(shared, file.file_id, 1)).file
    assert tombstone.state == types_pb2.FILE_STATE_DELETED
    assert tombstone.revision == 2
    for call in (
        shared.get(file.file_id),
        shared.download(file.file_id),
        _update(shared, file.file_id, description="x"),
        _delete(shared, file.file_id),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == Code.NOT_FOUND
    assert (await shared.list()).total_size == before - 1
    back = (await _undelete(shared, file.file_id, 2)).file
    assert (back.state, back.revision) == (types_pb2.FILE_STATE_ACTIVE, 3)
    assert await shared.download(file.file_id) == b"precious"
    assert (await _undelete(shared, file.file_id)).file.revision == 3


async def test_counters_follow_delete_and_undelete(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"12345")).file
        await _delete(node, file.file_id)
        element = await node.element()
        assert (element.used_bytes, element.file_count) == (5, 0)
        await _undelete(node, file.file_id)
        element = await node.element()
        assert (element.used_bytes, element.file_count) == (5, 1)


async def test_without_trash_the_bytes_go_at_once(local_rig: Rig) -> None:
    async with local_rig.running(trash_days=0) as node:
        file = (await node.upload(b"12345")).file
        await _delete(node, file.file_id)
        assert local_rig.files() == [f"{file.storage_path}/{file.storage_filename}.attr.json"]
        assert (await node.element()).used_bytes == 0
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _undelete(node, file.file_id)
        assert error.value.code() == Code.NOT_FOUND


async def test_the_trash_is_emptied_after_its_time(rig: Rig) -> None:
    async with rig.running() as node:
        kept = (await node.upload(b"kept")).file
        gone = (await node.upload(b"gone")).file
        await _delete(node, gone.file_id)
    async with rig.running(trash_days=1e-9) as node:

        async def emptied() -> bool:
            return (await node.element()).used_bytes == 4

        await until(emptied)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _undelete(node, gone.file_id)
        assert error.value.code() == Code.NOT_FOUND
        assert await node.download(kept.file_id) == b"kept"


async def test_tombstones_without_a_sidecar_do_not_block_the_trash(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writes.list_trash, "__kwdefaults__", {"after": None, "limit": 2})
    async with local_rig.running() as node:
        files = [(await node.upload(b"12345")).file for _ in range(4)]
        for file in files:
            await _delete(node, file.file_id)
        for file in files[:3]:
            _sidecar_path(node, file).unlink()
    async with local_rig.running(trash_days=1e-9) as node:
        last = local_rig.root / files[3].storage_path / files[3].storage_filename
        await until(lambda: not last.exists())


async def test_each_namespace_has_its_own_time_in_the_trash(local_rig: Rig) -> None:
    namespaces = ("brief", "long", "default")
    async with local_rig.running() as node:
        files = {one: (await node.upload(b"12345", namespace=one)).file for one in namespaces}
        for file in files.values():
            await _delete(node, file.file_id)
    blobs = {
        one: local_rig.root / file.storage_path / file.storage_filename
        for one, file in files.items()
    }
    policies = [{"namespace": "brief", "trash_days": 0}, {"namespace": "long", "trash_days": 9}]
    (local_rig.folder / "policies.json").write_text(json.dumps(policies))
    async with local_rig.running() as node:
        await until(lambda: not blobs["brief"].exists())
        assert blobs["long"].exists()
        assert blobs["default"].exists()
    async with local_rig.running(trash_days=1e-9) as node:
        await until(lambda: not blobs["default"].exists())
        assert blobs["long"].exists()


async def test_a_file_of_another_namespace_is_not_there(shared_local: Node) -> None:
    file = (await shared_local.upload(namespace="secret")).file
    stranger = {"role": "USER", "ns_read": ["default"], "ns_write": ["default"]}
    for call in (
        shared_local.get(file.file_id, **stranger),
        shared_local.download(file.file_id, **stranger),
        _update(shared_local, file.file_id, description="x", claims=stranger),
        _delete(shared_local, file.file_id, **stranger),
        _undelete(shared_local, file.file_id, **stranger),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == Code.NOT_FOUND


async def test_who_may_only_read_may_not_change(shared_local: Node) -> None:
    file = (await shared_local.upload(namespace="shared")).file
    reader = {"role": "USER", "ns_read": ["shared"], "ns_write": []}
    assert (await shared_local.get(file.file_id, **reader)).file_id == file.file_id
    for call in (
        _update(shared_local, file.file_id, description="x", claims=reader),
        _delete(shared_local, file.file_id, **reader),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == Code.PERMISSION_DENIED


async def test_an_update_cut_off_by_the_database_shows_at_once_and_is_replayed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.running() as node:
        file = (await node.upload(description="old")).file
        with monkeypatch.context() as broken:

            async def down(*_: Any, **__: Any) -> Any:
                raise Unavailable("database artstore is not answering")

            broken.setattr(Writes, "commit_row", down)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await _update(node, file.file_id, description="new")
            assert error.value.code() == Code.UNAVAILABLE
            assert (await node.get(file.file_id)).description == "new"
        # The revision that GetFile shows is the one that an update may expect.
        found = await node.get(file.file_id)
        assert (found.revision, found.cache_stale) == (2, False)
        answer = await _update(node, file.file_id, expected_revision=2, version="3")
        assert (answer.file.description, answer.file.version) == ("new", "3")


async def test_unknown_fields_of_a_sidecar_outlive_an_update(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
        path = _sidecar_path(node, file)
        text = path.read_bytes().rstrip(b"}") + b',"x_future":{"a":[1,2.50]}}'
        path.write_bytes(text)
        await _update(node, file.file_id, description="x")
        assert b'"x_future":{"a":[1,2.50]}' in path.read_bytes()


async def test_a_file_is_found_however_its_id_is_written(shared_local: Node) -> None:
    node = shared_local
    file_id = (await node.upload(b"hello")).file.file_id
    other = "019b76da-a800-7ba2-bf08-ba7b2a556ee5"
    written = f" {{{file_id.upper()}}}\n"
    assert (await node.get(written)).file_id == file_id
    assert await node.download(written) == b"hello"
    batch = storage_pb2.BatchGetFilesRequest(file_ids=[written, other.upper()])
    answer = await node.call("BatchGetFiles", batch)
    assert [file.file_id for file in answer.files] == [file_id]
    assert list(answer.missing_file_ids) == [other]
    assert (await _update(node, written, description="d")).file.file_id == file_id
    assert (await _delete(node, written)).file.file_id == file_id
    assert (await _undelete(node, written)).file.file_id == file_id


async def test_an_update_refuses_labels_that_say_nothing_and_keeps_old_ones(local: Node) -> None:
    file = (await local.upload(tags=["a"])).file
    for values, mask in (({"tags": ["a", ""]}, ["tags"]), ({"attributes": {"": "v"}}, [])):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _update(local, file.file_id, mask, **values)
        assert refused.value.code() is Code.INVALID_ARGUMENT
    assert list((await _update(local, file.file_id, tags=["b", "a", "b"])).file.tags) == ["b", "a"]
    path = _sidecar_path(local, file)
    old = orjson.loads(path.read_bytes()) | {"tags": ["", "x", "x"], "attributes": {"": "v"}}
    path.write_bytes(orjson.dumps(old))
    updated = (await _update(local, file.file_id, description="d")).file
    assert (list(updated.tags), dict(updated.attributes)) == (["", "x", "x"], {"": "v"})
    assert updated.description == "d"

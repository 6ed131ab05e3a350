"""Who changed a file, as followers of the feed are told, whatever happened to a server or its rows.

And what the servers' logs tell of a file: its id, and nothing that a user wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from artstore.v1 import (
    accounts_pb2,
    changes_pb2,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    types_pb2,
)
from launch import topology
from tests.acceptance.element_operator import Operator, path_of
from tests.acceptance.resumable import HeldUpload
from tests.support.caller import sha256_of
from tests.support.mesh import MeshProcess, running_mesh
from tests.support.outside import Outside
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

CALLER, REPAIR = changes_pb2.CHANGE_CAUSE_CALLER, changes_pb2.CHANGE_CAUSE_REPAIR
WORD = "zaphod"
"""In all that a user writes about a file here, and nowhere else."""
NAME, CONTENT = f"{WORD} name for Mr. {WORD}", b"bytes"
SAID: dict[str, Any] = {
    "description": f"{WORD} description",
    "tags": [f"{WORD} tag"],
    "attributes": {f"{WORD} key": f"{WORD} value"},
}

Entry = tuple[int, int, str, str, str]
"""Revision, cause, actor, x-request-id and reason of a change."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[MeshProcess]:
    """One whose servers are killed."""
    with running_mesh({}, quiet=False) as running:
        yield running


@dataclass
class Traced(Outside):
    """A caller that sends an x-request-id with each call."""

    request_id: str = ""

    @property
    def metadata(self) -> Any:
        return (*super().metadata, ("x-request-id", self.request_id))

    def calls(self, request_id: str) -> Traced:
        """The caller with another id."""
        self.request_id = request_id
        return self

    @property
    def name(self) -> str:
        return self.client_id or self.file.client_id

    def set_hold(self, file_id: str, legal_hold: bool, reason: str) -> None:
        stub = lifecycle_pb2_grpc.LifecycleServiceStub(self.channel("admin"))
        request = lifecycle_pb2.SetLegalHoldRequest(
            file_id=file_id, legal_hold=legal_hold, reason=reason
        )
        stub.SetLegalHold(request, **self.auth)


@dataclass
class Feeds:
    """The feeds of all elements from now on."""

    caller: Outside
    cursors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for element_id in self.caller.file.endpoints["storage"]:
            for message in self._watch(element_id, ""):
                if message.HasField("snapshot_end"):
                    self.cursors[element_id] = message.snapshot_end.cursor
                    break

    def of(self, file: types_pb2.File) -> list[Entry]:
        """What was told of a file, oldest first."""
        return [
            (one.change_revision, one.cause, one.actor, one.request_id, one.reason)
            for one in self._changes(file.storage_element_id)
            if one.file_id == file.file_id
        ]

    def _changes(self, element_id: str) -> Iterator[changes_pb2.Change]:
        watching = self._watch(element_id, self.cursors[element_id])
        position, head = -1, 0
        for message in watching:
            assert not message.HasField("snapshot_begin"), "the cursor is of no use any more"
            if message.HasField("heartbeat"):
                position, head = message.heartbeat.position, message.heartbeat.head_position
            for change in message.changes.changes:
                position = change.position
                yield change
            if position >= head:
                break
        watching.cancel()

    def _watch(self, element_id: str, cursor: str) -> Any:
        request = changes_pb2.WatchChangesRequest(cursor=cursor)
        return self.caller.storage(element_id).WatchChanges(request, **self.caller.auth)


@pytest.fixture
def admin(mesh: MeshProcess) -> Iterator[Traced]:
    with Traced(mesh.file) as caller:
        yield caller


@pytest.fixture
def alice(mesh: MeshProcess, admin: Traced) -> Iterator[Traced]:
    made = admin.account(accounts_pb2.ROLE_USER, "default")
    with Traced(mesh.file, made.client_id, made.client_secret) as caller:
        yield caller


@pytest.fixture
def feeds(admin: Traced) -> Feeds:
    return Feeds(admin)


def resumed(caller: Traced, request_id: str) -> types_pb2.File:
    """A file by a resumable upload, committed with this x-request-id."""
    upload = HeldUpload.start(caller.calls("start"), NAME, request_id="of the header", **SAID)
    upload.write(CONTENT, start=0)
    caller.calls(request_id)
    return upload.commit(len(CONTENT), sha256_of(CONTENT))


def test_each_change_tells_its_revision_caller_call_and_reason(
    alice: Traced, admin: Traced, feeds: Feeds
) -> None:
    file = alice.calls("call-1").upload(CONTENT, NAME, request_id="of the header 1", **SAID)
    element_id, file_id = file.storage_element_id, file.file_id
    alice.calls("call-2").update(element_id, file_id, paths=["version"], version="2")
    admin.calls("call-3").set_hold(file_id, True, "case 7")
    admin.calls("call-4").set_hold(file_id, True, "is held already")
    admin.calls("call-5").set_hold(file_id, False, "")
    alice.calls("call-6").delete(element_id, file_id)
    admin.calls("call-7").undelete(element_id, file_id)
    assert feeds.of(file) == [
        (1, CALLER, alice.name, "call-1", ""),
        (2, CALLER, alice.name, "call-2", ""),
        (3, CALLER, admin.name, "call-3", "case 7"),
        (4, CALLER, admin.name, "call-5", ""),
        (5, CALLER, alice.name, "call-6", ""),
        (6, CALLER, admin.name, "call-7", ""),
    ]
    other = resumed(alice, "call-8")
    assert feeds.of(other) == [(1, CALLER, alice.name, "call-8", "")]


def test_a_reason_of_more_than_200_bytes_is_refused(alice: Traced, admin: Traced) -> None:
    file = alice.upload(CONTENT, NAME)
    with pytest.raises(grpc.RpcError) as refused:
        admin.set_hold(file.file_id, True, "é" * 101)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not admin.get(file.storage_element_id, file.file_id).legal_hold


def test_writes_cut_off_before_their_row_are_told_as_they_would_have_been(
    mesh: MeshProcess, alice: Traced, admin: Traced, feeds: Feeds
) -> None:
    file = alice.calls("call-1").upload(CONTENT, NAME, **SAID)
    operator = Operator(mesh, file.storage_element_id)
    with operator.writes_blocked(), ThreadPoolExecutor() as threads:
        update = threads.submit(
            alice.calls("call-2").update,
            file.storage_element_id,
            file.file_id,
            paths=["version"],
            version="2",
        )
        wait_until(lambda: waiting(operator) == 1, 10.0, "the update waits for its row")
        upload = threads.submit(
            admin.calls("call-3").upload_to, file.storage_element_id, CONTENT, NAME, **SAID
        )
        wait_until(lambda: waiting(operator) == 2, 10.0, "the upload waits for its row")
        pid = mesh.kill_one(file.storage_element_id)
        # Or PostgreSQL would do what it was asked for although nobody is there to hear of it.
        operator.sql(
            "select pg_terminate_backend(pid) from pg_locks"
            " where relation = '{table}'::regclass and not granted"
        )
        for cut_off in (update, upload):
            assert isinstance(cut_off.exception(), grpc.RpcError)
    mesh.wait_restarted(file.storage_element_id, pid)
    uploaded: list[types_pb2.File] = []

    def replayed() -> bool:
        with suppress(grpc.RpcError):
            files = admin.list(file.storage_element_id).files
            uploaded[:] = [one for one in files if one.created_by == admin.name]
        return bool(uploaded)

    wait_until(replayed, 30.0, "the upload is replayed")
    wait_until(lambda: len(feeds.of(file)) == 2, 30.0, "the update is replayed")
    assert feeds.of(file) == [
        (1, CALLER, alice.name, "call-1", ""),
        (2, CALLER, alice.name, "call-2", ""),
    ]
    assert feeds.of(uploaded[0]) == [(1, CALLER, admin.name, "call-3", "")]


def waiting(operator: Operator) -> int:
    (found,) = operator.sql(
        "select count(*) as n from pg_locks where relation = '{table}'::regclass and not granted"
        " and mode = 'RowExclusiveLock'"
    )
    return int(found["n"])


def test_what_a_repair_tells_is_no_change_of_anybody(
    mesh: MeshProcess, alice: Traced, admin: Traced, feeds: Feeds
) -> None:
    file = alice.calls("call-1").upload(CONTENT, NAME, **SAID)
    operator = Operator(mesh, file.storage_element_id)
    operator.wait_until_followed()
    operator.sql("truncate {table}")
    admin.rebuild(file.storage_element_id, wait_seconds=20)
    operator.wait_until_followed()
    operator.lose_rows(file.file_id)
    alice.get(file.storage_element_id, file.file_id)
    operator.wait_until_followed()
    told = feeds.of(file)
    assert told[0] == (1, CALLER, alice.name, "call-1", "")
    assert set(told[1:]) == {(1, REPAIR, "", "", "")}


def test_no_log_line_holds_what_a_user_wrote_and_call_lines_name_the_file(
    mesh: MeshProcess, alice: Traced, admin: Traced
) -> None:
    file = alice.calls("log-1").upload(CONTENT, NAME, **SAID)
    element_id, file_id = file.storage_element_id, file.file_id
    alice.calls("log-2").update(element_id, file_id, paths=["description"], **SAID)
    admin.calls("log-3").set_hold(file_id, False, "")
    other = resumed(alice, "log-4")
    alice.calls("log-5").download(element_id, file_id)
    operator = Operator(mesh, element_id)
    # Messages of errors name paths, and those end with the file's name.
    operator.store.remove(path_of(file).removesuffix(".attr.json"))
    with pytest.raises(grpc.RpcError):
        alice.calls("log-6").download(element_id, file_id)
    operator.store.write(path_of(file), json.dumps({f"{WORD}": 1}).encode())
    operator.lose_rows(file_id)
    with pytest.raises(grpc.RpcError):
        alice.calls("log-7").get(element_id, file_id)
    alice.calls("log-8").delete(other.storage_element_id, other.file_id)
    with pytest.raises(grpc.RpcError):
        alice.calls("log-9").get(element_id, NAME)
    expected = {"log-1": file_id, "log-2": file_id, "log-3": file_id, "log-4": other.file_id}
    expected |= {"log-5": file_id, "log-6": file_id, "log-7": file_id, "log-8": other.file_id}
    expected |= {"log-9": ""}
    wait_until(lambda: files_of_calls(mesh).keys() >= expected.keys(), 10.0, "the calls are logged")
    told = files_of_calls(mesh)
    assert {call: told[call] for call in expected} == {c: {i} for c, i in expected.items()}
    for server in topology.SERVERS:
        lines = mesh.log(server.name).splitlines()
        assert [line for line in lines if WORD in line.lower()] == []


def files_of_calls(mesh: MeshProcess) -> dict[str, set[str]]:
    """Which files the call lines name, by x-request-id, of all servers."""
    found: dict[str, set[str]] = {}
    for server in topology.SERVERS:
        whole, _, _ = mesh.log(server.name).rpartition("\n")
        for text in whole.splitlines():
            line = json.loads(text)
            if line["event"] == "call":
                found.setdefault(line.get("request_id", ""), set()).add(line.get("file_id", ""))
    return found

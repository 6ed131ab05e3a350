"""Nothing stays of an erased file anywhere in a mesh, and a held file survives everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from artstore.v1 import lifecycle_pb2 as pb
from artstore.v1 import query_pb2, storage_pb2, types_pb2
from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import folder_of, storage_filename
from storage_server.domain.sidecar import FileState
from tests.acceptance.erasing import Eraser, Stores
from tests.support.mesh import MeshProcess
from tests.support.outside import error_info
from tests.support.services import S3Process
from tests.support.waiting import wait_until
from tests.support.what_is_left import Secret, a_secret

StartMesh = Callable[..., MeshProcess]
SETTINGS = {
    "ARTSTORE_COLLECTION_SECONDS": "0",
    "ARTSTORE_MOVED_KEEP_HOURS": "0.0002",
    "ARTSTORE_SWEEP_SECONDS": "0.5",
    "ARTSTORE_ORPHAN_DAYS": "0",
}
DOWN = "se-02"
LARGE = 9 * 2**20


@pytest.fixture(params=["local", "s3"])
def started(request: pytest.FixtureRequest, own_mesh: StartMesh) -> tuple[MeshProcess, Stores]:
    """A mesh of its own; on S3 in a bucket that keeps versions."""
    if request.param == "local":
        mesh = own_mesh(**SETTINGS)
        return mesh, Stores(mesh)
    server: S3Process = request.getfixturevalue("s3_server")
    account, client = server.create_bucket(), server.client()
    client.put_bucket_versioning(
        Bucket=account.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    mesh = own_mesh(**SETTINGS, **account.environment())
    return mesh, Stores(mesh, client, account)


class Files:
    """Secrets, and the ids of the files that they became."""

    def __init__(self, outside: Eraser, stores: Stores) -> None:
        self.outside = outside
        self.stores = stores
        self.ids: dict[str, str] = {}
        self.secrets: dict[str, Secret] = {}

    def secret(self, label: str, size: int = 1000) -> Secret:
        self.secrets[label] = a_secret(label, size)
        return self.secrets[label]

    def put(self, label: str, **how: Any) -> str:
        file = self.outside.put(self.secret(label), **how)
        self.ids[label] = file.file_id
        return file.file_id

    def make(self) -> None:
        """One in each of the ways in which a mesh has files."""
        outside, stores = self.outside, self.stores
        self.put("plain")
        for label in ("finalized long ago", "moved long ago"):
            self.put(label, element_id="se-01")
        outside.finalized(self.ids["finalized long ago"])
        outside.moved(self.ids["moved long ago"], DOWN)
        outside.moved(self.ids["moved long ago"], "se-01")
        self._set_aside()
        self._orphan()
        wait_until(lambda: self._collected("finalized long ago"), 30.0, "the source is gone")
        self.put("finalized")
        outside.finalized(self.ids["finalized"])
        self.put("moved", element_id=DOWN)
        outside.moved(self.ids["moved"], "se-01")
        again = self.put("repeated")
        assert outside.put(self.secrets["repeated"]).file_id == again
        file = outside.resumed(self.secret("resumed", LARGE))
        self.ids["resumed"] = file.file_id
        file = outside.put(self.secret("updated"))
        self.ids["updated"] = file.file_id
        outside.described(file, self.secrets["updated"])
        self.put("expired")
        expires_at = datetime.now(UTC) - timedelta(hours=1)
        stores.rewrite("se-01", self.ids["expired"], expires_at=expires_at)
        outside.incremental("se-01")
        assert outside.state("se-01", self.ids["expired"]) == "EXPIRED"
        self.put("deleted")
        outside.delete("se-01", self.ids["deleted"])
        self.put("with a copy on the silent one", element_id="se-01")
        stores.copied("se-01", DOWN, self.ids["with a copy on the silent one"])
        self.put("with too few copies")
        stores.rewrite("se-01", self.ids["with too few copies"], copies=2)
        outside.incremental("se-01")
        wait_until(self._has_finding, 30.0, "a finding")
        self._open()
        self._failed_transfer()

    def _set_aside(self) -> None:
        """Of two homes the earlier yields, and what it said beyond the later one is kept."""
        file = self.outside.put(self.secret("set aside"), element_id="se-01")
        self.ids["set aside"] = file.file_id
        self.stores.copied("se-01", "se-03", file.file_id)
        self.outside.described(file, self.secrets["set aside"])
        self.outside.incremental("se-03")
        wait_until(
            lambda: self.stores.sidecar("se-03", file.file_id).state is not FileState.ACTIVE,
            30.0,
            "the earlier home yields",
        )

    def _has_finding(self) -> bool:
        self.outside.check_mesh()
        return self.ids["with too few copies"] in self.outside.findings()

    def _orphan(self) -> None:
        """Bytes that no sidecar stands for, which a collection sets aside."""
        at = datetime.now(UTC) - timedelta(days=30)
        file_id = self.ids["orphan"] = new_file_id(at)
        secret = self.secret("orphan")
        name = storage_filename(f"{secret.said('name')}.bin", "alice", at, file_id)
        self.stores["se-01"].write(f"{folder_of(at)}/{name}", secret.content)
        assert self.outside.check("se-01").orphan_blob_count == 1

    def _collected(self, label: str) -> bool:
        self.outside.collect()
        return self.stores.sidecar("se-01", self.ids[label]).state is FileState.GONE

    def _open(self) -> None:
        opened = self.outside.open(self.secret("open", LARGE))
        number = opened.element_id.removeprefix("se-")
        (row,) = self.stores.sql(
            "",
            f"SELECT file_id FROM storage_elem_{number}_uploads WHERE upload_id = $1",
            opened.upload_id,
        )
        self.ids["open"] = row["file_id"]

    def _failed_transfer(self) -> None:
        """An earlier version wrote paths into the errors of transfers."""
        secret = self.secrets["finalized"]
        self.stores.sql(
            "_admin",
            "UPDATE transfers SET error = $2 WHERE file_id = $1",
            self.ids["finalized"],
            f"2026/{secret.said('name')}.pdf: no such file",
        )

    def left(self) -> dict[str, set[str]]:
        return self.stores.left(*self.secrets.values())


@pytest.mark.full
def test_no_byte_and_no_word_stays_of_erased_files_anywhere(
    started: tuple[MeshProcess, Stores],
) -> None:
    mesh, stores = started
    with Eraser(mesh.file) as outside:
        files = Files(outside, stores)
        files.make()
        # What is searched for, and told in errors, is a word of its user too.
        asked = query_pb2.SearchFilesRequest(query=files.secrets["plain"].words["name"])
        assert len(outside.query.SearchFiles(asked, **outside.auth).results) == 1
        with pytest.raises(grpc.RpcError):
            outside.put(files.secrets["repeated"], description="another header")
        # Whoever looks finds all of them, and knows where.
        there = files.left()
        found = {what for told in there.values() for what in told}
        for label in files.secrets:
            assert f"{label}: bytes" in found or label == "open", label
            assert f"{label}: name" in found, label
        unknown = new_file_id(datetime.now(UTC))

        mesh.freeze(DOWN)
        try:
            answers = {}
            for label, file_id in [*files.ids.items(), ("unknown", unknown)]:
                answers[label] = outside.erase(file_id)
                assert DOWN not in answers[label].storage_element_ids, label
                assert len(answers[label].storage_element_ids) == 2, label
                assert answers[label].operation.error == f"waits for {DOWN}", label
            again = outside.erase(files.ids["plain"])
            plain = answers["plain"]
            assert again.operation.operation_id == plain.operation.operation_id
            for file_id in files.ids.values():
                assert outside.state("se-01", file_id) == "NOT_FOUND"
        finally:
            pid = mesh.kill_one(DOWN)
        mesh.wait_restarted(DOWN, pid)
        for label, answer in answers.items():
            wait_until(lambda one=answer: outside.is_done(one), 60.0, f"{label} is erased")
        try:
            wait_until(lambda: not files.left(), 30.0, "nothing is left")
        except TimeoutError:
            assert files.left() == {}
        assert outside.findings().keys().isdisjoint(files.ids.values())


@pytest.mark.full
def test_a_held_file_survives_everything_until_it_is_released(
    started: tuple[MeshProcess, Stores],
) -> None:
    mesh, stores = started
    with Eraser(mesh.file) as outside:
        ids = {}
        secrets = {label: a_secret(label) for label in ("stays", "moves", "expires", "finalizes")}
        for label, secret in secrets.items():
            ids[label] = outside.put(secret, element_id="se-01").file_id
            assert not outside.held(ids[label], True).silent_storage_element_ids
        outside.finalized(ids["finalizes"])
        outside.moved(ids["moves"], "se-02")
        for element_id, label in [("se-03", "finalizes"), ("se-02", "moves")]:
            for one in ("se-01", element_id):
                assert stores.sidecar(one, ids[label]).legal_hold, (one, label)
        expires_at = datetime.now(UTC) - timedelta(days=2)
        stores.rewrite("se-01", ids["expires"], expires_at=expires_at)
        outside.incremental("se-01")
        homes = {"stays": "se-01", "moves": "se-02", "expires": "se-01", "finalizes": "se-03"}
        assert outside.collect(dry_run=True).errors == []
        outside.collect()
        for label, element_id in homes.items():
            file_id = ids[label]
            assert outside.download(element_id, file_id)[1] == secrets[label].content
            require_held(lambda one=file_id: outside.erase(one), file_id)
            if element_id != "se-03":
                # Its mode, rw, refuses a deletion before any hold does.
                require_held(lambda e=element_id, one=file_id: outside.delete(e, one), file_id)
            assert stores.sidecar(element_id, file_id).state is FileState.ACTIVE

        for file_id in ids.values():
            assert not outside.held(file_id, False).file.legal_hold
        assert outside.state("se-01", ids["expires"]) == "EXPIRED"
        wait_until(lambda: _in_trash(outside, stores, ids["expires"]), 30.0, "it is collected")
        outside.delete("se-02", ids["moves"])
        for file_id in ids.values():
            outside.erase(file_id)
        wait_until(lambda: not stores.left(*secrets.values()), 30.0, "nothing is left")


def _in_trash(outside: Eraser, stores: Stores, file_id: str) -> bool:
    outside.collect()
    return stores.sidecar("se-01", file_id).state is FileState.DELETED


def require_held(call: Callable[[], object], file_id: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    assert error_info(refused.value).reason == "LEGAL_HOLD"
    assert f"artstore release {file_id}" in str(refused.value.details())  # type: ignore[attr-defined]


@pytest.mark.full
def test_erasure_wins_over_modes_killed_admins_and_stores_put_back(
    started: tuple[MeshProcess, Stores],
) -> None:
    mesh, stores = started
    with Eraser(mesh.file) as outside:
        secrets = {label: a_secret(label) for label in ("rw", "ro", "ar", "killed", "put back")}
        ids = {
            label: outside.put(
                secret, element_id="se-02" if label == "put back" else "se-03"
            ).file_id
            for label, secret in secrets.items()
        }
        _erased_while_admin_dies(mesh, outside, ids["killed"])
        outside.erase(ids["rw"])
        for mode, label in (
            (types_pb2.ELEMENT_MODE_RO, "ro"),
            (types_pb2.ELEMENT_MODE_AR, "ar"),
        ):
            request = storage_pb2.SetModeRequest(mode=mode, confirm=True)
            outside.storage("se-03").SetMode(request, **outside.auth)
            outside.erase(ids[label])

        # A store as it was before the erasure, without the record of it.
        before = stores.of("se-02", ids["put back"])
        outside.erase(ids["put back"])
        mesh.freeze("se-02")
        for path in stores.of("se-02", ids["put back"]):
            stores["se-02"].remove(path)
        for path, content in before.items():
            stores["se-02"].write(path, content)
        pid = mesh.kill_one("se-02")
        mesh.wait_restarted("se-02", pid)
        _when_it_answers(lambda: outside.incremental("se-02"))
        wait_until(lambda: not stores.left(*secrets.values()), 60.0, "nothing is left")
        for file_id in ids.values():
            assert stores.sidecar("se-02", file_id).state is FileState.ERASED


def _erased_while_admin_dies(mesh: MeshProcess, outside: Eraser, file_id: str) -> None:
    """Killed a little later each time, until it was in the midst of it."""
    request = pb.EraseFileRequest(file_id=file_id, reason="case 4711")
    for n in range(4):
        call = outside.life.EraseFile.future(request, **outside.auth)
        time.sleep(0.02 * n)
        pid = mesh.kill_one("admin")
        with suppress(grpc.RpcError):
            call.result()
        mesh.wait_restarted("admin", pid)
    _when_it_answers(lambda: outside.erase(file_id))


def _when_it_answers(call: Callable[[], object]) -> None:
    def answered() -> bool:
        try:
            call()
        except grpc.RpcError as error:
            assert error.code() in (  # type: ignore[attr-defined]
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.ABORTED,
            ), error
            return False
        return True

    wait_until(answered, 60.0, "it answers")

"""A data folder that an earlier version wrote, and whose mesh was killed, goes on under this one.

How it was made, and what is done about time: `tests/fixtures/upgrade/README.md`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import types_pb2
from artstore.v1.cache_pb2 import CHECK_LEVEL_DEEP
from artstore_client import ArtStoreError, FailedPrecondition, NotFound, SyncClient
from mesh.postgres.urls import with_database
from tests.acceptance.resumable import HeldUpload
from tests.fixtures.upgrade.archive import pattern
from tests.fixtures.upgrade.unpack import WITNESS, Unpacked, rows_sql, unpack
from tests.support.mesh import MeshProcess, loud_lines
from tests.support.outside import Outside
from tests.support.waiting import until_answered, wait_until

pytestmark = pytest.mark.timeout(300)

ELEMENTS = ("se-01", "se-02", "se-03")
CENTURY_DAYS = "36500"
SETTINGS = {
    # Sidecars say when a file was deleted, and they are not touched: the operator of this mesh
    # keeps deleted files for long.
    "ARTSTORE_TRASH_DAYS": CENTURY_DAYS,
    "ARTSTORE_TOMBSTONE_DAYS": CENTURY_DAYS,
}


@dataclass
class Upgraded:
    """The mesh that this version runs on the old data folder."""

    old: Unpacked
    mesh: MeshProcess
    caller: Outside
    client: SyncClient
    folder: Path

    @property
    def told(self) -> dict[str, Any]:
        return self.old.told

    def upload(self, name: str) -> tuple[HeldUpload, dict[str, Any], bytes]:
        """An upload of the old mesh with its old token, what is known of it, and all its bytes."""
        known = self.told["uploads"][name]
        held = HeldUpload(self.caller, known["element"], known["upload_id"], known["token"])
        return held, known, pattern(known["name"], known["size"])

    def stored(self, file: types_pb2.File) -> bytes:
        """The bytes that the old code stored of a file."""
        return self.old.contents[
            f"storage_element_{file.storage_element_id[-2:]}/{file.storage_path}"
            f"/{file.storage_filename}"
        ]

    async def added(self, element_id: str) -> list[str]:
        """Names of an element's files that have a row since."""
        rows = await self.sql(
            f"SELECT file_id, original_filename FROM storage_elem_{element_id[-2:]}_files"
        )
        return [name for file_id, name in rows if file_id not in self.old.rows[element_id]]

    async def sql(self, statement: str, database: str = "artstore") -> list[asyncpg.Record]:
        """Ask the databases."""
        url = with_database(self.mesh.file.database_url, database)
        connection = await asyncpg.connect(url)
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement)
            return found
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Upgraded]:
    """Unpacked and started once for all tests here."""
    with tempfile.TemporaryDirectory(prefix="artstore-old-") as folder:
        old = unpack(Path(folder))
        mesh = MeshProcess(old.data_dir, environment=SETTINGS)
        try:
            mesh.start()
            with (
                Outside(mesh.file) as caller,
                SyncClient.connect(mesh_file=mesh.mesh_file) as client,
            ):
                yield Upgraded(old, mesh, caller, client, Path(folder))
            mesh.stop()
        finally:
            mesh.kill()


def test_an_upload_of_an_element_that_was_draining_still_commits(upgraded: Upgraded) -> None:
    # First of all: this goes for a minute after the start.
    held, known, content = upgraded.upload("drained")
    assert held.state() == (known["committed"], None)
    assert held.write(content, start=known["committed"]) == known["size"]
    file = held.commit(known["size"], known["sha256"])
    assert upgraded.caller.download("se-03", file.file_id)[1] == content
    told = json.loads((upgraded.old.data_dir / "storage_element_03/element.json").read_bytes())
    assert told["mode"] == "ro"


async def test_what_was_stored_is_not_written_again(upgraded: Upgraded) -> None:
    """No rebuild, no row renewed, no sidecar touched; only a cut-off write is completed."""
    assert upgraded.old.changed_sidecars() == []
    await _until_replayed(upgraded)
    for element_id, then in upgraded.told["elements"].items():
        rows = {row[0]: row[1] for row in await upgraded.sql(rows_sql(element_id[-2:]))}
        before = upgraded.old.rows[element_id]
        assert {one: rows.get(one) for one in before} == before
        (head,) = await upgraded.sql(
            f"SELECT epoch, complete FROM storage_elem_{element_id[-2:]}_feed_head"
        )
        assert (head["epoch"], head["complete"]) == (then["epoch"], True)
    # Its sidecar was written before the kill, its row was not.
    assert await upgraded.added("se-01") == ["pending.txt"]
    assert await upgraded.added("se-02") == []


async def test_followers_go_on_from_their_cursors(upgraded: Upgraded) -> None:
    """A change that was made to the index and the registry alone, and that any snapshot would
    undo, is still there after they have read all they had not."""
    client, unseen = upgraded.client, upgraded.told["files"]["unseen"]
    found = {unseen["updated"], unseen["added"]}
    wait_until(
        lambda: {one.file.file_id for one in client.search("непрочитанное").results} == found,
        30,
        "the index has what it had not seen",
    )
    status = client.sync_status().elements
    assert all(one.complete and not one.lag_changes for one in status), status
    assert client.search(WITNESS).total_count == len(ELEMENTS)
    in_registry = f"SELECT count(*) FROM file_registry WHERE description = '{WITNESS}'"

    async def registered() -> bool:
        files = await upgraded.sql(
            "SELECT file_id FROM file_registry WHERE description = 'непрочитанное'",
            "artstore_admin",
        )
        return {file["file_id"] for file in files} == found

    await until_answered(registered, 30, "the registry has what it had not seen")
    assert (await upgraded.sql(in_registry, "artstore_admin"))[0][0] == len(ELEMENTS)
    for server in ("query", "admin"):
        assert "snapshot begins" not in upgraded.mesh.log(server)


def test_old_files_are_found(upgraded: Upgraded) -> None:
    for words, total in upgraded.told["queries"].items():
        answer = upgraded.client.search(words, page_size=1)
        assert answer.index_complete
        assert (words, answer.total_count) == (words, total)


def test_a_lock_that_was_left_behind_is_shown_and_released(upgraded: Upgraded) -> None:
    cache = upgraded.client.cache("se-02")
    (lock,) = cache.locks()
    assert cache.release(lock.kind)
    assert cache.locks() == []


async def test_rows_and_sidecars_agree(upgraded: Upgraded) -> None:
    for element_id, then in upgraded.told["elements"].items():
        cache = upgraded.client.cache(element_id)
        report = cache.check()
        assert report.is_consistent, report
        wrong = ("orphan_cache", "orphan_attr", "stale_cache", "invalid_attr", "missing_blob")
        counts = {name: getattr(report, f"{name}_count") for name in (*wrong, "orphan_blob")}
        assert not any(counts.values()), report
        files = then["file_count"] + len(await upgraded.added(element_id))
        assert report.total_attr_files == report.total_cache_entries == files
        # Of 500, one was updated and one deleted after they had expired.
        assert report.expired_cache_count == (498 if element_id == "se-01" else 0)
        # Of a sidecar that did not move, only this reads what it says.
        assert cache.check(CHECK_LEVEL_DEEP).is_consistent
        done = cache.incremental().statistics
        assert (done.entries_created, done.entries_updated, done.entries_deleted) == (0, 0, 0)


async def test_an_expired_row_is_renewed_and_says_the_same(upgraded: Upgraded) -> None:
    before = await upgraded.sql(
        "SELECT file_id, sequence, cache_updated_at FROM storage_elem_01_files"
        " WHERE state = 'active' AND cache_updated_at < now() - '30 h'::interval"
        " ORDER BY file_id LIMIT 20"
    )
    assert len(before) == 20

    async def renewed() -> bool:
        """Ask for each; a busy element may answer one as it is and renew it when asked again."""
        for row in before:
            assert upgraded.caller.get("se-01", row["file_id"]).file_id == row["file_id"]
            (after,) = await upgraded.sql(
                "SELECT sequence, cache_updated_at FROM storage_elem_01_files"
                f" WHERE file_id = '{row['file_id']}'"
            )
            assert after["sequence"] == row["sequence"]
            if after["cache_updated_at"] <= row["cache_updated_at"]:
                return False
        return True

    await until_answered(renewed, 30, "the rows are renewed")


@pytest.mark.parametrize("name", ["part", "whole", "cut"])
def test_an_open_upload_goes_on_with_its_old_token(upgraded: Upgraded, name: str) -> None:
    held, known, content = upgraded.upload(name)
    assert held.state() == (known["committed"], None)
    if name == "part":
        # A repeat of its request is the same upload, with a new token.
        again = HeldUpload.start(
            upgraded.caller, known["name"], size_bytes=known["size"], **known["said"]
        )
        assert again.upload_id == held.upload_id
        held = again
    if known["committed"] < known["size"]:
        assert held.write(content, start=known["committed"]) == known["size"]
    file = held.commit(known["size"], known["sha256"])
    assert upgraded.caller.download(known["element"], file.file_id)[1] == content


def test_a_repeat_of_an_old_request_answers_the_old_file(upgraded: Upgraded) -> None:
    held, known, content = upgraded.upload("done")
    assert held.commit(known["size"], known["sha256"]).file_id == known["file_id"]
    said = {"size_bytes": known["size"], **known["said"]}
    repeat = HeldUpload.start(upgraded.caller, known["name"], **said)
    _, file = repeat.state()
    assert file is not None
    assert file.file_id == known["file_id"]
    assert upgraded.caller.upload(content, known["name"], **said).file_id == known["file_id"]


def test_a_killed_client_goes_on_from_what_it_had_sent(upgraded: Upgraded) -> None:
    known = upgraded.told["client"]
    source = upgraded.folder / known["name"]
    source.write_bytes(pattern(known["name"], known["size"]))
    endpoints = upgraded.mesh.file.endpoints
    state = upgraded.old.client_folder(upgraded.folder / "cache", source, endpoints)
    moved: list[int] = []
    with SyncClient.connect(mesh_file=upgraded.mesh.mesh_file, state_folder=state) as client:
        done = client.upload(
            source,
            description="снимок",
            tags=["образ"],
            retention_days=30_000,
            progress=lambda at, _: moved.append(at),
        )
    assert done.resumed_at_bytes == known["committed"] == moved[0]
    assert list(state.iterdir()) == []
    content = upgraded.caller.download(known["element"], done.file.file_id)[1]
    assert content == source.read_bytes()


def test_accounts_keep_their_secrets_and_suspensions(upgraded: Upgraded) -> None:
    secrets = dict(upgraded.told["accounts"])
    suspended = Outside(upgraded.mesh.file, "suspended", secrets.pop("suspended"))
    with suspended, pytest.raises(grpc.RpcError) as refused:
        _ = suspended.token
    assert refused.value.code().name in ("PERMISSION_DENIED", "UNAUTHENTICATED")
    for name, secret in secrets.items():
        with Outside(upgraded.mesh.file, name.removesuffix(" before"), secret) as caller:
            assert caller.list("se-01").files
    kept = json.loads((upgraded.old.data_dir / "credentials.json").read_bytes())["accounts"]
    first = next(one for one in kept if one["first"])
    assert upgraded.mesh.file.client_secret == first["client_secret"]


async def test_elements_are_admitted_as_they_were_and_keep_their_accounts(
    upgraded: Upgraded,
) -> None:
    rows = await upgraded.sql(
        "SELECT element.*, account.client_id FROM storage_elements AS element"
        " LEFT JOIN service_accounts AS account USING (storage_element_id)",
        "artstore_admin",
    )
    assert {row["storage_element_id"]: row["client_id"] for row in rows} == {
        name: f"storage-{name}" for name in ELEMENTS
    }
    for row in rows:
        assert (row["awaiting_store_id"], row["awaiting_endpoint"]) == ("", "")
        text = upgraded.old.data_dir / f"storage_element_{row['storage_element_id'][-2:]}"
        assert json.loads((text / "element.json").read_bytes())["store_id"] == row["store_id"]
    listed = upgraded.client.admission.registered()
    assert {one.storage_element_id for one in listed if one.healthy} == set(ELEMENTS)


async def test_a_token_of_a_replaced_key_is_still_taken(upgraded: Upgraded) -> None:
    keys = await upgraded.sql("SELECT kid, private_key FROM signing_keys", "artstore_admin")
    token = upgraded.old.old_token({key["kid"]: key["private_key"] for key in keys})
    for element_id in ELEMENTS:
        with Outside(upgraded.mesh.file, _token=token) as caller:
            assert caller.list(element_id).files


def test_deleted_files_come_back_as_far_as_they_are_kept(upgraded: Upgraded) -> None:
    client, files = upgraded.client, upgraded.told["files"]
    for file_id in files["deleted"][:10]:
        content = upgraded.stored(client.undelete(file_id))
        assert upgraded.caller.download("se-01", file_id)[1] == content
    for file_id in [*files["emptied"][:2], *files["purged"][:2]]:
        with pytest.raises(ArtStoreError) as refused:
            client.undelete(file_id)
        assert isinstance(refused.value, FailedPrecondition | NotFound)


def test_old_files_are_read_changed_and_deleted(upgraded: Upgraded) -> None:
    for element_id in ELEMENTS:
        for file in upgraded.caller.list(element_id).files[::50]:
            sent, content = upgraded.caller.download(element_id, file.file_id)
            assert content == upgraded.stored(file)
            assert hashlib.sha256(content).hexdigest() == sent.sha256
        # By its id alone: whoever asks need not know the element.
        found = upgraded.client.stat(file.file_id)
        assert (found.storage_element_id, found.sha256) == (element_id, file.sha256)
    one = upgraded.caller.list("se-01").files[0].file_id
    assert upgraded.client.update(one, description="new").description == "new"
    upgraded.client.delete(one)
    with pytest.raises(NotFound):
        upgraded.client.stat(one)


def test_no_server_met_an_error(upgraded: Upgraded) -> None:
    assert loud_lines(upgraded.mesh) == []


async def _until_replayed(upgraded: Upgraded) -> None:
    async def replayed() -> bool:
        count = "SELECT count(*) FROM storage_elem_01_pending_writes"
        return bool((await upgraded.sql(count))[0][0] == 0)

    await until_answered(replayed, 30, "the write that was cut off is completed")

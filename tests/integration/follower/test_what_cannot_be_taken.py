"""Changes that the table cannot take, files that nobody can describe, ids that tell no folder."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from artstore.v1 import storage_pb2, types_pb2
from mesh.errors import Unavailable
from mesh.follower import lag
from tests.support.following import (
    Following,
    element_head,
    on_element,
    replica_rows,
    tables_of,
)
from tests.support.storage_rig import Node
from tests.support.waiting import until

Follow = Callable[..., Following]
POISON = "poison.txt"


@pytest.fixture
async def picky(replica_database: Any) -> Any:
    """A table that does not take one name, whatever else comes with it."""
    await replica_database.execute(
        f"ALTER TABLE replicas ADD CONSTRAINT picky CHECK (original_filename <> '{POISON}')"
    )
    return replica_database


async def rename(node: Node, file_id: str, name: str) -> None:
    file = types_pb2.File(original_filename=name)
    await node.call("UpdateFile", storage_pb2.UpdateFileRequest(file_id=file_id, file=file))


async def names(following: Following) -> set[str]:
    return {row[3] for row in await replica_rows(following.table)}


def set_aside() -> float:
    return float(lag.SET_ASIDE.labels("se-01")._value.get())


@pytest.mark.parametrize("by", ["tail", "snapshot", "snapshot beside the tail"])
async def test_a_file_that_the_table_refuses_is_set_aside_and_the_others_come_in(
    own_element: Node, follow: Follow, picky: Any, by: str
) -> None:
    following = follow(own_element)
    before = set_aside()
    stored = {}

    async def upload() -> None:
        for name in ("a.txt", POISON, "b.txt"):
            answer = await own_element.upload(original_filename=name)
            stored[name] = answer.file.file_id

    if by == "snapshot":
        await upload()
    async with following.running():
        await until(following.caught_up)
        if by != "snapshot":
            await upload()
        if by == "snapshot beside the tail":
            await until(following.caught_up)
            await following.fleet.resync(seconds=20)
        await until(following.caught_up)
        assert await names(following) == {"a.txt", "b.txt"}
        assert set_aside() > before
        status = await following.status()
        assert status is not None
        assert status.set_aside == 1
        assert stored[POISON] in status.last_error
        assert status.complete
        # The next change of the file is an ordinary one.
        await picky.execute("ALTER TABLE replicas DROP CONSTRAINT picky")
        await own_element.call(
            "UpdateFile",
            storage_pb2.UpdateFileRequest(
                file_id=stored[POISON], file=types_pb2.File(description="taken now")
            ),
        )
        await following.agrees()
        status = await following.status()
        assert status is not None
        assert (status.set_aside, status.last_error) == (0, "")


async def test_a_snapshot_takes_what_was_set_aside_and_forgets_what_is_gone(
    own_element: Node, follow: Follow, picky: Any
) -> None:
    following = follow(own_element)
    async with following.running():
        await until(following.caught_up)
        kept = await own_element.upload(original_filename=POISON)
        await own_element.upload(original_filename="good.txt")
        await until(following.caught_up)
        await picky.execute(
            "INSERT INTO follow_set_aside VALUES ('se-01', 'never heard of', 1, 'an old story')"
        )
        await picky.execute("ALTER TABLE replicas DROP CONSTRAINT picky")
        await following.fleet.resync(seconds=20)
        await following.agrees()
        assert await picky.fetch("SELECT * FROM follow_set_aside") == []
        assert kept.file.original_filename in await names(following)


async def test_an_error_that_no_row_is_guilty_of_is_told_and_tried_again(
    own_element: Node, follow: Follow, replica_database: Any
) -> None:
    await own_element.upload()
    await replica_database.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '0A000'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON replicas EXECUTE FUNCTION refuse()
        """
    )
    following = follow(own_element)

    async def told() -> bool:
        status = await following.status()
        return status is not None and status.failures > 1 and "not now" in status.last_error

    async with following.running():
        await until(told)
        await replica_database.execute("DROP TRIGGER refuse ON replicas")
        await following.agrees()


async def cleaned_after_an_update(node: Node, file_id: str) -> None:
    """The feed tells of an update, and the row that it wrote has been cleaned since."""
    await on_element(node, f"DELETE FROM {tables_of(node).files} WHERE file_id = $1", file_id)


async def test_a_damaged_sidecar_stops_neither_the_tail_nor_a_snapshot(
    own_element: Node, follow: Follow
) -> None:
    following = follow(own_element)
    damaged = (await own_element.upload(original_filename="damaged.txt")).file.file_id
    async with following.running():
        await following.agrees()
    await own_element.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(file_id=damaged, file=types_pb2.File(description="new")),
    )
    await cleaned_after_an_update(own_element, damaged)
    for path in own_element.rig.root.rglob(f"*{damaged}*.attr.json"):
        path.write_bytes(b"{" + secrets.token_bytes(10))
    await own_element.upload(original_filename="later.txt")
    async with following.running():
        await until(following.caught_up)
        assert await names(following) == {"damaged.txt", "later.txt"}
        await following.fleet.resync(seconds=30)
        assert await names(following) == {"damaged.txt", "later.txt"}


async def test_a_row_cleaned_before_its_change_was_read_is_no_proof_of_absence(
    own_element: Node, follow: Follow
) -> None:
    """Ids of an adopted store tell no folder: without its row such a file is NOT_FOUND."""
    made = (await own_element.upload(original_filename="adopted.txt")).file.file_id
    adopted, tables = str(uuid.uuid4()), tables_of(own_element)
    for table in (tables.files, tables.feed):
        await on_element(
            own_element, f"UPDATE {table} SET file_id = $1 WHERE file_id = $2", adopted, made
        )
    for path in own_element.rig.root.rglob(f"*{made}*"):
        path.unlink()
    following = follow(own_element)
    async with following.running():
        await until(following.caught_up)
        assert await names(following) == {"adopted.txt"}
    await on_element(
        own_element,
        f"INSERT INTO {tables.feed} SELECT sequence + 1, gen_random_uuid(), 'updated', file_id,"
        f" now() FROM {tables.feed}",
    )
    await on_element(own_element, f"UPDATE {tables.feed_head} SET seq = seq + 1")
    await cleaned_after_an_update(own_element, adopted)
    async with following.running():
        await until(following.caught_up)
        assert await names(following) == {"adopted.txt"}
    # What a repair has dropped is gone.
    await on_element(
        own_element,
        f"INSERT INTO {tables.feed} SELECT 3, gen_random_uuid(), 'dropped', file_id, now()"
        f" FROM {tables.feed} WHERE sequence = 2",
    )
    await on_element(own_element, f"UPDATE {tables.feed_head} SET seq = 3")
    async with following.running():
        await until(following.caught_up)
        assert await names(following) == set()


async def test_a_snapshot_that_fails_at_once_is_tried_again_with_pauses(
    own_element: Node, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        readings = 0

        async def read(*_: Any, **__: Any) -> None:
            nonlocal readings
            readings += 1
            raise Unavailable("the disk of the element is on fire")

        followed = following.fleet._followers.running["se-01"]
        monkeypatch.setattr(followed._snapshots, "read", read)
        with pytest.raises(Unavailable, match="on fire"):
            await following.fleet.resync(seconds=2.5)
        assert 1 < readings <= 6
        # The tail's heartbeats do not wipe the error out.
        _, head = await element_head(own_element)
        status = await following.status()
        assert status is not None
        await following.table.note_contact("se-01", status.cursor.epoch, head)
        status = await following.status()
        assert status is not None
        assert "on fire" in status.last_error
        monkeypatch.undo()
        await following.fleet.resync(seconds=20)
        status = await following.status()
        assert status is not None
        assert status.last_error == ""

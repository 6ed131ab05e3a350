"""A rebuild that finds files tells those who follow the feed, while they are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from artstore.v1 import changes_pb2
from storage_server.domain.sidecar import encode
from tests.faults.cache.element import ELEMENT, SIDECAR_SUFFIX, ElementProcess
from tests.support.cache_rig import path_of


@contextmanager
def following(element: ElementProcess) -> Iterator[Callable[[], changes_pb2.Change]]:
    """A follower at the head of the feed; what it yields waits for the next change."""
    stub = element.caller.storage(ELEMENT)
    call = stub.WatchChanges(changes_pb2.WatchChangesRequest(), **element.caller.auth)
    try:
        messages = iter(call)
        while next(messages).WhichOneof("payload") != "snapshot_end":
            pass

        told = (change for message in messages for change in message.changes.changes)
        yield lambda: next(told)
    finally:
        call.cancel()


@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
def test_what_a_rebuild_creates_updates_and_drops_reaches_a_connected_follower(
    element: ElementProcess, full: bool
) -> None:
    kept, edited, removed, lost = element.put_files(4)
    element.caller.rebuild(ELEMENT)
    with following(element) as change:
        (found,) = element.put_files(1, description="from a backup")
        element.store.write(path_of(edited), encode(replace(edited, description="by hand")))
        element.store.remove(path_of(removed))
        element.store.remove(path_of(removed).removesuffix(SIDECAR_SUFFIX))
        element.sql("DELETE FROM {files} WHERE file_id = $1", lost.file_id)
        rebuild = element.caller.rebuild if full else element.caller.incremental
        rebuild(ELEMENT)
        # Whatever comes last in the feed comes after all that the rebuild told.
        last = element.caller.upload_to(ELEMENT, b"x", "last.txt")
        told: dict[str, changes_pb2.Change] = {}
        while last.file_id not in told:
            one = change()
            assert one.file_id not in told
            told[one.file_id] = one
    kinds = {file_id: one.kind for file_id, one in told.items() if file_id != last.file_id}
    expected = {
        found.file_id: changes_pb2.CHANGE_KIND_CREATED,
        edited.file_id: changes_pb2.CHANGE_KIND_UPDATED,
        lost.file_id: changes_pb2.CHANGE_KIND_CREATED,
    }
    if full:
        expected[removed.file_id] = changes_pb2.CHANGE_KIND_DROPPED
    assert kinds == expected
    assert kept.file_id not in told
    assert told[found.file_id].file.description == "from a backup"
    assert told[edited.file_id].file.description == "by hand"
    sequences = [one.position for one in told.values()]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))

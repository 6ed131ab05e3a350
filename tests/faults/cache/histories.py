"""Random histories of one element, whose `Model` knows what must come of each."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from artstore.v1 import cache_pb2, types_pb2
from storage_server.domain.sidecar import FileState, Sidecar, decode, encode
from storage_server.domain.sidecar_changes import tombstoned, undeleted
from tests.faults.cache.element import ELEMENT, SIDECAR_SUFFIX, is_live
from tests.faults.cache.model import AWAY_FOLDER, Code, Known, Model
from tests.support.cache_rig import a_sidecar, path_of

PICK = st.integers(min_value=0, max_value=1 << 16)
# What an operator might do to rows; each leaves a row that the tables allow.
DAMAGES = {
    "text": "UPDATE {files} SET description = 'damaged'",
    "size": "UPDATE {files} SET size_bytes = size_bytes + 1",
    "tombstone": "UPDATE {files} SET state = 'deleted'",
    "no tombstone": "UPDATE {files} SET state = 'active'",
    "tags": "UPDATE {files} SET tags = array[NULL, 'x']",
    "attributes": "UPDATE {files} SET attributes = '{{\"a\": 7}}'",
    "revision": "UPDATE {files} SET revision = revision + 100",
    "identity": "UPDATE {files} SET sidecar_inode = 1, sidecar_etag = 'x', sidecar_mtime_ns = 1",
    "digest": "UPDATE {files} SET digest = ''",
    "hash": "UPDATE {files} SET row_hash = NULL",
    "expired": "UPDATE {files} SET cache_updated_at = now() - interval '100 hours'",
    "lost": "DELETE FROM {files}",
}
BREAKS = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "no JSON": lambda content: b"\0not JSON",
    "wrong type": lambda content: content.replace(b'"revision":', b'"revision":"x","x":', 1),
    "newer": lambda content: content.replace(b'"schema_version":1', b'"schema_version":2'),
}


class Histories(Model):
    """One element; `element` is set by whoever runs it."""

    # --- the beginning ---------------------------------------------------------------

    @initialize(count=st.integers(min_value=1, max_value=3))
    def begin(self, count: int) -> None:
        self.element.empty()
        for _ in range(count):
            self.upload()

    # --- writes through the service --------------------------------------------------

    @rule()
    def upload(self) -> None:
        blob = self.text().encode()
        made = self.element.caller.upload_to(ELEMENT, blob, "report.txt", tags=["a"])
        path = f"{made.storage_path}/{made.storage_filename}{SIDECAR_SUFFIX}"
        file = Known(made.file_id, path, b"", blob)
        self.files.append(file)
        assert self.written(file).sha256 == made.sha256

    @rule(pick=PICK)
    def update(self, pick: int) -> None:
        file, text = self.any(pick), self.text()
        before = file.sidecar
        answer = self.call(
            self.expected_of(file, deleted=Code.NOT_FOUND),
            self.element.caller.update, file.file_id, paths=["description"], description=text,
        )  # fmt: skip
        if answer is not None and before is not None:
            after = self.written(file)
            assert (after.description, after.revision) == (text, before.revision + 1)

    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        file = self.any(pick)
        before = file.sidecar
        may_be = self.expected_of(file, deleted=Code.NOT_FOUND)
        if before is not None and before.legal_hold and is_live(before):
            may_be = may_be - {None} | {Code.FAILED_PRECONDITION}
        answer = self.call(may_be, self.element.caller.delete, file.file_id)
        if answer is not None and before is not None:
            after = self.written(file)
            changed = tombstoned(before, after.updated_at)
            assert after == replace(
                changed, updated_by=self.element.caller.account, deleted_at=after.updated_at
            )

    @rule(pick=PICK)
    def undelete(self, pick: int) -> None:
        file = self.any(pick)
        before = file.sidecar
        may_be = self.expected_of(file, deleted=None)
        answer = self.call(may_be, self.element.caller.undelete, file.file_id)
        if answer is None or before is None:
            return
        if is_live(before):
            assert self.element.store.read(file.path) == file.content
        else:
            after = self.written(file)
            changed = undeleted(before, after.updated_at)
            assert after == replace(changed, updated_by=self.element.caller.account)

    @rule(pick=PICK, held=st.booleans())
    def hold(self, pick: int, held: bool) -> None:
        file = self.any(pick)
        before = file.sidecar
        may_be = self.expected_of(file, deleted=Code.NOT_FOUND)
        answer = self.call(may_be, self.element.caller.hold, file.file_id, held)
        if answer is None or before is None:
            return
        if before.legal_hold is held:
            assert self.element.store.read(file.path) == file.content
        else:
            after = self.written(file)
            assert (after.legal_hold, after.revision) == (held, before.revision + 1)

    @rule(pick=PICK)
    def read(self, pick: int) -> None:
        """What the row can't tell, or not any more, the sidecar tells."""
        file = self.any(pick)
        record = self.element.records().get(file.file_id)
        sidecar = file.sidecar
        row = self.element.rows().get(file.file_id)
        if record is not None and row != sidecar:
            # Damaged or outdated, and not known to be.
            return
        may_be = self.expected_of(file, deleted=Code.NOT_FOUND)
        found = self.call(may_be, self.element.caller.get, file.file_id)
        if found is not None and sidecar is not None:
            _same(found, sidecar)

    # --- past the service ------------------------------------------------------------

    @rule()
    def lay_a_file_in(self) -> None:
        sidecar = a_sidecar(self.text().encode(), description=self.text())
        file = Known(sidecar.file_id, path_of(sidecar), None, f"text {self.number - 1}".encode())
        self.files.append(file)
        self.put(file, sidecar)
        file.past.append(encode(sidecar))

    @rule(pick=PICK)
    def edit(self, pick: int) -> None:
        file = self.one(pick, there=True, broken=False)
        if file is None or file.sidecar is None:
            return
        sidecar = file.sidecar
        self.put(file, replace(sidecar, description=self.text(), unknown='"x":[1,2.50]'))

    @rule(pick=PICK, which=PICK)
    def restore(self, pick: int, which: int) -> None:
        """An older sidecar from a backup, whose revision is lower."""
        file = self.any(pick)
        content = file.past[which % len(file.past)]
        there = decode(content)
        if path_of(there) != file.path:
            content = encode(replace(there, storage_path=file.path.rpartition("/")[0]))
        self.put(file, content)

    @rule(pick=PICK)
    def touch(self, pick: int) -> None:
        """The same bytes, written again."""
        file = self.one(pick, there=True)
        if file is not None and file.content is not None:
            self.put(file, file.content)

    @rule(pick=PICK)
    def remove(self, pick: int) -> None:
        file = self.one(pick, there=True)
        if file is not None:
            self.take_away(file)

    @rule(pick=PICK)
    def move(self, pick: int) -> None:
        """To a folder that its id does not name."""
        file = self.one(pick, there=True, broken=False)
        if file is None or file.sidecar is None or file.sidecar.storage_path == AWAY_FOLDER:
            return
        sidecar = file.sidecar
        self.take_away(file)
        moved = replace(sidecar, storage_path=AWAY_FOLDER)
        file.path, file.unfindable = path_of(moved), True
        self.put(file, moved)

    @rule(pick=PICK, how=st.sampled_from(sorted(BREAKS)))
    def spoil(self, pick: int, how: str) -> None:
        file = self.one(pick, there=True, broken=False)
        if file is None or file.content is None:
            return
        # A row that names another place would not be that of the broken sidecar.
        self.element.sql(
            "UPDATE {files} SET storage_path = $2 WHERE file_id = $1",
            file.file_id, file.path.rpartition("/")[0],
        )  # fmt: skip
        self.put(file, BREAKS[how](file.content))

    @rule(pick=PICK, how=st.sampled_from(sorted(DAMAGES)))
    def damage_row(self, pick: int, how: str) -> None:
        file = self.any(pick)
        self.element.sql(f"{DAMAGES[how]} WHERE file_id = $1", file.file_id)

    @rule(how=st.sampled_from([*sorted(DAMAGES), "truncated"]))
    def damage_rows(self, how: str) -> None:
        self.element.sql("TRUNCATE {files}" if how == "truncated" else DAMAGES[how])

    @rule(pick=PICK)
    def row_names_another_place(self, pick: int) -> None:
        file = self.one(pick, broken=False)
        if file is None:
            return
        self.element.sql(
            "UPDATE {files} SET storage_path = '2018/01/02/03' WHERE file_id = $1", file.file_id
        )

    # --- the process -----------------------------------------------------------------

    @rule(
        pick=PICK,
        at=st.sampled_from(["rest", "incremental", "full"]),
        after_ms=st.integers(min_value=0, max_value=20),
    )
    def kill(self, pick: int, at: str, after_ms: int) -> None:
        """At rest, or in the middle of a rebuild and an update, which is made whole or not."""
        file, text = self.any(pick), self.text()
        if at != "rest":
            self.work(file, text, after_ms, full=at == "full")
        self.element.restart()
        if file.content is not None and self.element.store.read(file.path) != file.content:
            assert self.written(file).description == text

    def work(self, file: Known, text: str, milliseconds: int, *, full: bool) -> None:
        """Begin a rebuild and an update, and kill the process after a while."""
        caller = self.element.caller
        rebuild = caller.rebuild if full else caller.incremental
        working = [
            threading.Thread(target=_ignoring, args=(rebuild, ELEMENT)),
            threading.Thread(
                target=_ignoring,
                args=(caller.update, ELEMENT, file.file_id),
                kwargs={"paths": ["description"], "description": text},
            ),
        ]
        for thread in working:
            thread.start()
        working[0].join(milliseconds / 1000)
        self.element.kill()
        for thread in working:
            thread.join()

    # --- the cache -------------------------------------------------------------------

    @rule(level=st.sampled_from([cache_pb2.CHECK_LEVEL_FULL, cache_pb2.CHECK_LEVEL_DEEP]))
    def check(self, level: cache_pb2.CheckLevel) -> None:
        before = self.element.records()
        report = self.element.caller.check(ELEMENT, level)
        assert self.element.records() == before
        live = {file_id for file_id, row in self.element.rows().items() if is_live(row)}
        suspected = self.suspects()
        broken = {file.file_id for file in self.files if file.is_broken}
        there = {f.file_id for f in self.files if f.sidecar and is_live(f.sidecar)} | broken
        assert report.total_attr_files == len(there)
        assert report.total_cache_entries == len(live)
        assert report.invalid_attr_count == len(broken)
        assert report.orphan_attr_count == len(suspected["orphan_attr"])
        assert report.orphan_cache_count == len(suspected["orphan_cache"])
        assert report.stale_cache_count == len(suspected["stale"])
        assert (report.missing_blob_count, report.orphan_blob_count) == (0, 0)
        wrong = set().union(*suspected.values()) | broken
        assert report.is_consistent is (not wrong)
        assert report.inconsistency_percentage == _percentage(wrong, there | live | wrong)

    @rule()
    def incremental(self) -> None:
        before = self.element.rows()
        result = self.element.caller.incremental(ELEMENT)
        assert result.statistics.entries_deleted == 0
        assert result.error_count == sum(file.is_broken for file in self.files)
        self.rows_are(before, keep_gone=True)

    @rule()
    def rebuild(self) -> None:
        before = self.element.rows()
        result = self.element.caller.rebuild(ELEMENT)
        assert result.error_count == sum(file.is_broken for file in self.files)
        self.rows_are(before, keep_gone=False)
        self.check(cache_pb2.CHECK_LEVEL_FULL)
        self.check(cache_pb2.CHECK_LEVEL_QUICK)

    @rule()
    def cleanup(self) -> None:
        """What goes is still found, by its id."""
        before = self.element.rows()
        expired = {file.file_id for file in self.files if self.may_be_cleaned(file)}
        assert self.element.caller.cleanup(ELEMENT) == len(expired)
        assert self.element.rows() == {i: row for i, row in before.items() if i not in expired}

    def teardown(self) -> None:
        """Whatever happened, a full rebuild makes it right, and nobody changed a sidecar."""
        if not self.files:
            return
        self.rebuild()
        for file in self.files:
            if file.content is not None:
                assert self.element.store.read(file.path) == file.content
        there = {file.path for file in self.files if file.content is not None}
        assert self.element.sidecar_paths() == there
        assert self.element.log_lines("error") == []


def _ignoring(call: Any, *arguments: Any, **named: Any) -> None:
    try:
        call(*arguments, **named)
    except grpc.RpcError:
        return


def _same(file: types_pb2.File, sidecar: Sidecar) -> None:
    said = json.loads(encode(sidecar))
    for name in ("file_id", "revision", "description", "size_bytes", "sha256", "storage_path"):
        assert getattr(file, name) == said[name], name
    assert list(file.tags) == said["tags"]
    assert (
        file.state
        == {
            FileState.ACTIVE: types_pb2.FILE_STATE_ACTIVE,
            FileState.DELETED: types_pb2.FILE_STATE_DELETED,
            FileState.MOVED: types_pb2.FILE_STATE_MOVED,
        }[sidecar.state]
    )
    assert not file.cache_expired


def _percentage(wrong: set[str], union: set[str]) -> float:
    return 100 * len(wrong) / len(union) if wrong else 0.0

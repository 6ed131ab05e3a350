"""What must come of what is done to one element: a model for `histories`.

The model is what lies in the store: for each file the bytes of its sidecar, as a test or an answer
of the server put them there. Rows are looked at in the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from hypothesis.stateful import RuleBasedStateMachine

from storage_server.domain.sidecar import InvalidSidecar, Sidecar, decode, encode
from tests.faults.cache.element import ELEMENT, SIDECAR_SUFFIX, ElementProcess, is_live
from tests.support.cache_rig import path_of

Code = grpc.StatusCode
AWAY_FOLDER = "2019/01/02/03"


@dataclass
class Known:
    """A file as the model knows it.

    Attributes:
        path: of its sidecar, where that lies or lay last.
        content: of the sidecar; None once it was taken away.
        blob: its bytes.
        past: valid sidecars that it had, of which a backup might be one.
        unfindable: it may be NOT_FOUND without a row that names it: it is not at home, or an
            index of names on S3 has not seen it come.
    """

    file_id: str
    path: str
    content: bytes | None
    blob: bytes
    past: list[bytes] = field(default_factory=list)
    unfindable: bool = False

    @property
    def sidecar(self) -> Sidecar | None:
        """The valid sidecar, if there is one."""
        if self.content is None:
            return None
        try:
            return decode(self.content)
        except InvalidSidecar:
            return None

    @property
    def is_broken(self) -> bool:
        """There is a sidecar, and it can't be used."""
        return self.content is not None and self.sidecar is None


class Model(RuleBasedStateMachine):
    """One element and its files, and no rules yet; `element` is set by whoever runs it."""

    element: ClassVar[ElementProcess]

    def __init__(self) -> None:
        super().__init__()
        self.files: list[Known] = []
        self.number = 0

    def one(self, pick: int, **wanted: bool) -> Known | None:
        """A file that is as wanted: there, broken. None if none is: then nothing is done, since
        what a rule draws must not depend on what others did.
        """
        able = [
            file
            for file in self.files
            if all(
                {"there": file.content is not None, "broken": file.is_broken}[name] is value
                for name, value in wanted.items()
            )
        ]
        return able[pick % len(able)] if able else None

    def any(self, pick: int) -> Known:
        """A file; there is always one."""
        return self.files[pick % len(self.files)]

    def text(self) -> str:
        """A text that stands nowhere else."""
        self.number += 1
        return f"text {self.number}"

    def put(self, file: Known, sidecar: Sidecar | bytes) -> None:
        """Write a file's sidecar past the service, and its blob if that is gone."""
        content = sidecar if isinstance(sidecar, bytes) else encode(sidecar)
        blob = file.path.removesuffix(SIDECAR_SUFFIX)
        if blob not in self.element.store.paths():
            self.element.store.write(blob, file.blob)
            file.unfindable |= self.element.backend == "s3"
        self.element.store.write(file.path, content)
        file.content = content

    def take_away(self, file: Known) -> None:
        """Remove sidecar and blob past the service."""
        self.element.store.remove(file.path)
        self.element.store.remove(file.path.removesuffix(SIDECAR_SUFFIX))
        file.content = None

    def written(self, file: Known) -> Sidecar:
        """The service wrote the file: the sidecar is in the store, and the row says the same."""
        file.content = self.element.store.read(file.path)
        sidecar = file.sidecar
        assert sidecar is not None
        file.past.append(file.content)
        assert self.element.rows()[file.file_id] == sidecar
        return sidecar

    def expected_of(self, file: Known, *, deleted: Code | None) -> set[Code | None]:
        """How a call on a file may end, None for well; `deleted`: with a tombstone."""
        sidecar = file.sidecar
        if file.content is None:
            return {Code.NOT_FOUND}
        if sidecar is None:
            found: set[Code | None] = {Code.DATA_LOSS}
        else:
            found = {None if is_live(sidecar) else deleted}
        row = self.element.rows().get(file.file_id)
        if file.unfindable and (row is None or path_of(row) != file.path):
            found.add(Code.NOT_FOUND)
        return found

    def call(self, may_be: set[Code | None], method: Any, *arguments: Any, **named: Any) -> Any:
        """Call the service; the answer, or None when it ended in another way that may be."""
        try:
            answer = method(ELEMENT, *arguments, **named)
        except grpc.RpcError as error:
            assert error.code() in may_be, f"{error.code()} {error.details()}, not {may_be}"
            return None
        assert None in may_be, f"well, not {may_be}"
        return answer

    def suspects(self) -> Mapping[str, set[str]]:
        """Ids of files whose rows are wrong, by how; broken ones are none of these."""
        records, rows = self.element.records(), self.element.rows()
        found: dict[str, set[str]] = {"orphan_attr": set(), "orphan_cache": set(), "stale": set()}
        for file in self.files:
            row, sidecar = rows.get(file.file_id), file.sidecar
            live = sidecar is not None and is_live(sidecar)
            row_is_live = row is not None and is_live(row)
            if file.is_broken or not (live or row_is_live):
                continue
            if row is None:
                found["orphan_attr"].add(file.file_id)
            elif sidecar is None:
                found["orphan_cache"].add(file.file_id)
            elif row != sidecar or not _intact(records[file.file_id]):
                found["stale"].add(file.file_id)
        return found

    def rows_are(self, before: Mapping[str, Sidecar], *, keep_gone: bool) -> None:
        """Rows equal valid sidecars; those whose sidecar broke stay as they were."""
        expected = {}
        for file in self.files:
            sidecar = file.sidecar
            if sidecar is not None:
                expected[file.file_id] = sidecar
            elif file.file_id in before and (file.is_broken or keep_gone):
                expected[file.file_id] = before[file.file_id]
        assert self.element.rows() == expected

    def may_be_cleaned(self, file: Known) -> bool:
        """Its row is older than any that was not aged by hand, and its sidecar is at home."""
        if file.sidecar is None or file.sidecar.storage_path == AWAY_FOLDER:
            return False
        found = self.element.sql(
            "SELECT 1 FROM {files} WHERE file_id = $1 AND state <> 'deleted' AND storage_path = $2"
            " AND cache_updated_at < now() - interval '99 hours'",
            file.file_id, file.path.rpartition("/")[0],
        )  # fmt: skip
        return bool(found)


def _intact(record: Any) -> bool:
    return bool(record["intact"])

"""Readers miss no file and writers lose no write while an element is rebuilt, or killed in it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest

from storage_server.domain.sidecar import FileState
from tests.faults.cache.element import ELEMENT, AloneCaller, ElementProcess, is_live
from tests.support.waiting import wait_until

Code = grpc.StatusCode
FILES = {"local": 1000, "s3": 100}
# A check of level DEEP reads every blob, and the S3 server of the tests takes a while for each.
TURNS = {"local": 3, "s3": 1}
DOWN = {Code.UNAVAILABLE}
# Without pause while the server answers; while it does not, it needs the processor to start.
RETRY_SECONDS = 0.02


@pytest.fixture
def filled(element: ElementProcess) -> list[str]:
    """Ids of an element's files, all in its cache."""
    count = FILES[element.backend]
    made = [sidecar.file_id for sidecar in element.put_files(count)]
    assert element.caller.rebuild(ELEMENT).statistics.entries_created == count
    return made


@dataclass
class Reading:
    """What readers saw.

    Attributes:
        refused: ids and statuses of reads that a caller need not repeat in vain.
    """

    reads: int = 0
    retries: int = 0
    refused: list[tuple[str, Code]] = field(default_factory=list)

    def once_more(self, reads: int) -> None:
        """Wait until so many more were answered."""
        wanted = self.reads + reads
        wait_until(lambda: self.reads >= wanted, 60.0, f"{reads} more reads")


class Crowd:
    """Threads that each do one thing over and over until told to stop."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def add(self, step: Callable[[], None]) -> None:
        """One more thread."""

        def run() -> None:
            try:
                while not self.stopped.is_set():
                    step()
            except BaseException as error:
                self._errors.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def stop(self) -> None:
        """End all, and raise what stopped one of them before."""
        self.stopped.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]


@contextmanager
def working(*steps: Callable[[], None]) -> Iterator[None]:
    """Steps repeated by a thread each."""
    crowd = Crowd()
    try:
        for step in steps:
            crowd.add(step)
        yield
    finally:
        crowd.stop()


@contextmanager
def reading(element: ElementProcess, file_ids: Sequence[str]) -> Iterator[Reading]:
    """Two readers without pause, each of all files in turn."""
    seen = Reading()

    def reader(start: int) -> Callable[[], None]:
        turns = itertools.islice(itertools.cycle(file_ids), start, None)

        def read() -> None:
            file_id = next(turns)
            while True:
                try:
                    assert element.caller.get(ELEMENT, file_id).file_id == file_id
                    seen.reads += 1
                    return
                except grpc.RpcError as error:
                    if error.code() not in DOWN:
                        seen.refused.append((file_id, error.code()))
                        return
                    seen.retries += 1
                    time.sleep(RETRY_SECONDS)

        return read

    with working(reader(0), reader(len(file_ids) // 2)):
        seen.once_more(1)
        yield seen


def lose_most(element: ElementProcess) -> None:
    """Nine of ten rows, as an operator might delete them, and the content of the others."""
    element.sql("DELETE FROM {files} WHERE hashtext(file_id) % 10 <> 0")
    element.sql("UPDATE {files} SET description = 'damaged'")


def test_a_reader_misses_no_file_during_rebuilds(
    element: ElementProcess, filled: list[str]
) -> None:
    with reading(element, filled) as seen:
        for rebuild in (element.caller.rebuild, element.caller.incremental):
            lose_most(element)
            result = rebuild(ELEMENT, wait_seconds=10)
            assert result.error_count == 0
            assert result.statistics.entries_deleted == 0
            seen.once_more(50)
    assert seen.refused == []
    assert element.rows() == element.truth()


def test_a_reader_misses_no_file_when_the_server_is_killed_in_a_rebuild(
    element: ElementProcess, filled: list[str]
) -> None:
    caller = element.caller
    with reading(element, filled) as seen:
        for full in (True, False):
            lose_most(element)
            before = set(element.rows())
            rebuild = caller.rebuild if full else caller.incremental
            doomed = threading.Thread(target=_until_killed, args=(rebuild,))
            doomed.start()
            # Some rows are back: it is at work.
            wait_until(lambda: len(element.rows()) > len(before), 30.0, "rows come back")  # noqa: B023
            element.kill()
            doomed.join()
            rows, truth = element.rows(), element.truth()
            assert before <= rows.keys()
            assert all(truth[i] == row for i, row in rows.items() if row.description != "damaged")
            element.restart()
            caller = element.caller
            seen.once_more(50)
    assert seen.refused == []
    assert seen.retries > 0
    element.caller.rebuild(ELEMENT)
    assert element.rows() == element.truth()


def _until_killed(rebuild: Callable[..., object]) -> None:
    try:
        rebuild(ELEMENT, wait_seconds=10)
    except grpc.RpcError as error:
        assert error.code() in {Code.UNAVAILABLE, Code.CANCELLED}, error


class Writer:
    """Uploads, updates and deletes in turn; `files` is how each of its files must end."""

    def __init__(self, caller: AloneCaller) -> None:
        self.files: dict[str, str | None] = {}
        self.writes = 0
        self._caller = caller
        self._steps = itertools.cycle([self._upload, self._upload, self._update, self._delete])

    def step(self) -> None:
        """One write."""
        next(self._steps)()
        self.writes += 1

    def _upload(self) -> None:
        text = f"upload {self.writes}"
        made = self._caller.upload_to(ELEMENT, b"x", "written.txt", description=text)
        self.files[made.file_id] = text

    def _update(self) -> None:
        file_id, text = list(self.files)[-1], f"update {self.writes}"
        self._caller.update(ELEMENT, file_id, paths=["description"], description=text)
        self.files[file_id] = text

    def _delete(self) -> None:
        file_id = list(self.files)[-2]
        self._caller.delete(ELEMENT, file_id)
        self.files[file_id] = None


def test_writes_during_rebuilds_are_all_there_and_deletes_stay_deleted(
    element: ElementProcess, filled: list[str]
) -> None:
    writers = [Writer(element.caller) for _ in range(3)]
    rebuilds = [element.caller.rebuild, element.caller.incremental] * TURNS[element.backend]
    with working(*(writer.step for writer in writers)):
        for rebuild in rebuilds:
            before = sum(writer.writes for writer in writers)
            lose_most(element)
            result = rebuild(ELEMENT)
            assert (result.error_count, result.statistics.entries_deleted) == (0, 0)
            wait_until(
                lambda: sum(writer.writes for writer in writers) > before,  # noqa: B023
                30.0,
                "writes go on",
            )
    truth = element.truth()
    assert truth.keys() == set(filled).union(*(writer.files for writer in writers))
    for writer in writers:
        for file_id, text in writer.files.items():
            if text is None:
                assert truth[file_id].state is FileState.DELETED
            else:
                assert truth[file_id].description == text
    element.caller.incremental(ELEMENT)
    assert element.rows() == truth
    live = sum(is_live(one) for one in truth.values())
    report = element.caller.check(ELEMENT)
    assert report.is_consistent, report
    assert report.total_attr_files == live
    counted = element.element()
    assert counted.file_count == live
    assert counted.used_bytes == sum(one.size_bytes for one in truth.values())
    feed = [row["sequence"] for row in element.sql("SELECT sequence FROM {feed} ORDER BY 1")]
    assert feed == list(range(feed[0], feed[0] + len(feed)))


def test_checks_find_nothing_wrong_while_others_write(element: ElementProcess) -> None:
    writers = [Writer(element.caller) for _ in range(3)]
    with working(*(writer.step for writer in writers)):
        for level in (1, 2, 3) * TURNS[element.backend]:
            before = sum(writer.writes for writer in writers)
            report = element.caller.check(ELEMENT, level)
            assert report.is_consistent, report
            assert report.orphan_blob_count == 0, report
            assert report.inconsistency_percentage == 0
            wait_until(
                lambda: sum(writer.writes for writer in writers) > before,  # noqa: B023
                30.0,
                "writes go on",
            )

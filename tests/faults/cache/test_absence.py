"""What is not shown to be gone is not removed: stores that are away, emptied, foreign."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import grpc
import pytest

from storage_server.domain.sidecar import Sidecar
from tests.faults.cache.element import ELEMENT, ElementProcess
from tests.support.backdoor import S3Backdoor
from tests.support.waiting import wait_until

Code = grpc.StatusCode
BACK_SECONDS = 10.0


@contextmanager
def unmounted(element: ElementProcess) -> Iterator[None]:
    """The root is not there; on S3 that is a bucket with nothing in it."""
    with element.store.away():
        yield


@contextmanager
def emptied(element: ElementProcess) -> Iterator[None]:
    """The root is there, and nothing is in it: no element.json either."""
    with element.store.away():
        element.root.mkdir()
        yield


@contextmanager
def without_its_bucket(element: ElementProcess) -> Iterator[None]:
    """The bucket is gone; a process that starts makes it anew, and it is empty."""
    assert isinstance(element.store, S3Backdoor)
    with element.store.without_bucket():
        yield


@contextmanager
def of_another_element(element: ElementProcess) -> Iterator[None]:
    """The files are there, and element.json says that they are se-02's."""
    own = element.store.read("element.json")
    element.store.write(
        "element.json", json.dumps({**json.loads(own), "element_id": "se-02"}).encode()
    )
    try:
        yield
    finally:
        element.store.write("element.json", own)


@contextmanager
def another_store_mounted(element: ElementProcess) -> Iterator[None]:
    """An empty store that says it is this element's, and is another one."""
    own = json.loads(element.store.read("element.json"))
    with element.store.away():
        element.store.write("element.json", json.dumps({**own, "store_id": "another"}).encode())
        yield


def refused(element: ElementProcess) -> set[str]:
    """Every call that might remove a row says UNAVAILABLE; the reasons that they give."""
    caller = element.caller
    calls: list[Callable[[], object]] = [
        *(lambda level=level: caller.check(ELEMENT, level) for level in (1, 2, 3)),
        lambda: caller.rebuild(ELEMENT, max_delete_ratio=1.0),
        lambda: caller.incremental(ELEMENT),
        lambda: caller.cleanup(ELEMENT),
    ]
    reasons = set()
    for call in calls:
        with pytest.raises(grpc.RpcError) as error:
            call()
        assert error.value.code() is Code.UNAVAILABLE, error.value.details()
        reasons.add(error.value.details())
    return reasons


def unavailable(element: ElementProcess, sidecar: Sidecar) -> bool:
    """Whether a read of the file says UNAVAILABLE, which is not that it is gone."""
    with pytest.raises(grpc.RpcError) as error:
        element.caller.get(ELEMENT, sidecar.file_id)
    return error.value.code() is Code.UNAVAILABLE


def works_again(element: ElementProcess, made: list[Sidecar]) -> None:
    """Within seconds, and nothing is lost."""
    wait_until(lambda: element.element().writable, BACK_SECONDS, "the element is writable")
    element.caller.rebuild(ELEMENT)
    report = element.caller.check(ELEMENT)
    assert report.is_consistent, report
    assert (report.total_attr_files, report.total_cache_entries) == (len(made), len(made))
    assert {file.file_id for file in element.caller.list(ELEMENT).files} == {
        one.file_id for one in made
    }
    element.caller.delete(ELEMENT, element.caller.upload_to(ELEMENT, b"x", "new").file_id)


Absence = Callable[[ElementProcess], AbstractContextManager[None]]
# And what must be told of it: by a process that had the store, by one that starts.
ABSENCES: dict[str, tuple[Absence, str, str]] = {
    "unmounted": (unmounted, "mounted", "mounted"),
    "emptied": (emptied, "element.json", "element.json"),
    "no bucket": (without_its_bucket, "ucket", "element.json"),
    "foreign": (of_another_element, "se-02", "se-02"),
    "another store": (another_store_mounted, "another store", ""),
}
ON_BOTH = [
    ("local", "unmounted"), ("local", "emptied"), ("local", "foreign"),
    ("s3", "unmounted"), ("s3", "no bucket"), ("s3", "foreign"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("element", "absence"), [*ON_BOTH, ("local", "another store")], indirect=["element"]
)
def test_a_store_that_cannot_be_proved_loses_no_row(element: ElementProcess, absence: str) -> None:
    away, told, _ = ABSENCES[absence]
    made = element.put_files(3)
    element.caller.rebuild(ELEMENT)
    lost = made[0]
    element.sql("DELETE FROM {files} WHERE file_id = $1", lost.file_id)
    element.sql("UPDATE {files} SET cache_updated_at = now() - interval '100 hours'")
    rows = element.records()
    with away(element):
        reasons = refused(element)
        assert any(told in reason for reason in reasons), reasons
        assert unavailable(element, lost)
        # What the cache knows is still answered.
        assert element.caller.get(ELEMENT, made[1].file_id).cache_stale
        assert element.records() == rows
    works_again(element, made)


@pytest.mark.parametrize(("element", "absence"), ON_BOTH, indirect=["element"])
def test_a_process_that_starts_without_its_store_does_not_take_it_for_empty(
    element: ElementProcess, absence: str
) -> None:
    away, _, told = ABSENCES[absence]
    made = element.put_files(3)
    element.caller.rebuild(ELEMENT)
    rows = element.records()
    with away(element):
        element.kill()
        element.begin_start()
        wait_until(element.answers, 60.0, "the process answers")
        reasons = refused(element)
        assert any(told in reason for reason in reasons), reasons
        assert not element.element().writable
        assert element.records() == rows
        assert absence == "foreign" or not element.has_element_file()
    works_again(element, made)
    assert element.caller.get(ELEMENT, made[0].file_id).sha256 == made[0].sha256

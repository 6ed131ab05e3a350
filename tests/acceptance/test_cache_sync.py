"""The cache of an element is a cache: lost, damaged or old rows come back from the sidecars.

From outside: through gRPC, as an operator who deletes and ages rows, and with a hand on the
store. Each test runs on local files and on S3, on an element with nothing in it.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from artstore.v1 import cache_pb2, operations_pb2, query_pb2, storage_pb2, types_pb2
from tests.acceptance.element_operator import SIDECAR_SUFFIX, Operator, path_of, same
from tests.acceptance.empty_element import LEVELS, assert_all_zero
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside
from tests.support.services import S3Process
from tests.support.waiting import wait_until

ELEMENT = "se-02"
EXPIRED_HOURS = 100


@pytest.fixture
def outside(mesh: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh.file) as caller:
        yield caller


@pytest.fixture
def operator(
    request: pytest.FixtureRequest, mesh: MeshProcess, s3_server: S3Process, outside: Outside
) -> Iterator[Operator]:
    """The operator of an element that is empty before and after the test."""
    element = getattr(request, "param", ELEMENT)
    found = Operator(mesh, element, s3_server)
    for step in ("before", "after"):
        found.remove_files()
        outside.rebuild(element, max_delete_ratio=1.0, wait_seconds=10)
        assert found.sql("select from {table}") == [], step
        if step == "before":
            yield found


def assert_consistent(outside: Outside, files: int) -> None:
    """Rows and sidecars agree, and there are so many of them."""
    report = outside.check(ELEMENT, cache_pb2.CHECK_LEVEL_DEEP)
    assert report.is_consistent, report
    assert report.inconsistency_percentage == 0
    assert (report.total_attr_files, report.total_cache_entries) == (files, files)


def some_files(outside: Outside) -> list[types_pb2.File]:
    """Upload files that fill each field of a sidecar."""
    return [
        outside.upload_to(
            ELEMENT,
            b"quarterly figures",
            "Отчёт за квартал — итог.pdf",
            content_type="application/pdf",
            description='Сводка "до вычета"\nи после',
            version="v2-rc1",
            tags=["finance", "отчёт", "Q3"],
            attributes={"author": "Иванов", "pages": "12", "empty": ""},
            namespace="accounts",
            retention_days=90,
            request_id="figures-1",
        ),
        outside.upload_to(
            ELEMENT,
            b"kept",
            "deed 🎉.tar.gz",
            retention_policy=types_pb2.RETENTION_POLICY_PERMANENT,
        ),
        outside.upload_to(ELEMENT, b"", "empty"),
    ]


def test_empty_element_is_consistent(outside: Outside, operator: Operator) -> None:
    assert_all_zero(outside, ELEMENT)
    operator.store.write(".keep", b"")
    assert_all_zero(outside, ELEMENT)
    operator.store.remove(".keep")


def test_removed_row_is_found_and_put_back(outside: Outside, operator: Operator) -> None:
    file = outside.upload_to(ELEMENT, b"the only one", "only.txt", tags=["one"])
    before, row = outside.get(ELEMENT, file.file_id), operator.rows()
    assert_consistent(outside, 1)
    operator.lose_rows(file.file_id)
    for level in LEVELS:
        report = outside.check(ELEMENT, level)
        assert report.total_attr_files == 1
        assert report.total_cache_entries == 0
        assert report.orphan_attr_count == 1
        assert report.orphan_cache_count == 0
        assert report.inconsistency_percentage == 100
        assert not report.is_consistent
        assert list(report.details.orphan_attr_files) == [path_of(file)]

    result = outside.incremental(ELEMENT)
    assert result.operation_kind == operations_pb2.OPERATION_KIND_INCREMENTAL_REBUILD
    assert result.statistics == cache_pb2.RebuildStatistics(
        attr_files_scanned=1, cache_entries_after=1, entries_created=1
    )
    assert result.error_count == 0
    assert result.completed_at.ToDatetime() >= result.started_at.ToDatetime()
    assert_consistent(outside, 1)
    assert operator.rows() == row
    assert same(outside.get(ELEMENT, file.file_id)) == same(before)


def test_full_rebuild_restores_each_row_field_by_field(
    outside: Outside, operator: Operator
) -> None:
    files = some_files(outside)
    changed = outside.update(
        ELEMENT, files[2].file_id, paths=["description"], description="held"
    ).file
    assert outside.hold(changed.file_id).revision == 3
    before = {file.file_id: outside.get(ELEMENT, file.file_id) for file in files}
    assert (before[changed.file_id].revision, before[changed.file_id].legal_hold) == (3, True)
    rows = operator.rows()
    operator.lose_rows()
    report = outside.check(ELEMENT)
    assert (report.orphan_attr_count, report.inconsistency_percentage) == (3, 100)

    result = outside.rebuild(ELEMENT)
    assert result.operation_kind == operations_pb2.OPERATION_KIND_FULL_REBUILD
    assert result.statistics == cache_pb2.RebuildStatistics(
        attr_files_scanned=3, cache_entries_after=3, entries_created=3
    )
    assert operator.rows() == rows
    listed = {file.file_id: file for file in outside.list(ELEMENT).files}
    for file_id, file in before.items():
        got = outside.get(ELEMENT, file_id)
        assert same(got) == same(file) == same(listed[file_id])
        assert got.cache_updated_at.ToDatetime() >= file.cache_updated_at.ToDatetime()
    assert_consistent(outside, 3)

    again = outside.rebuild(ELEMENT)
    assert again.statistics == cache_pb2.RebuildStatistics(
        attr_files_scanned=3, cache_entries_before=3, cache_entries_after=3
    )


def test_rows_without_files_go_with_a_full_rebuild_only(
    outside: Outside, operator: Operator
) -> None:
    gone, stays = (outside.upload_to(ELEMENT, b"x", name) for name in ("gone.txt", "stays.txt"))
    operator.remove_file(gone)
    for level in LEVELS:
        report = outside.check(ELEMENT, level)
        assert (report.total_attr_files, report.total_cache_entries) == (1, 2)
        assert (report.orphan_cache_count, report.inconsistency_percentage) == (1, 50)
        assert list(report.details.orphan_cache_entries) == [gone.file_id]
    assert outside.incremental(ELEMENT).statistics.entries_deleted == 0
    assert outside.rebuild(ELEMENT).statistics.entries_deleted == 1
    assert_consistent(outside, 1)
    assert [file.file_id for file in outside.list(ELEMENT).files] == [stays.file_id]


def test_damaged_and_outdated_rows_are_stale_until_repaired(
    outside: Outside, operator: Operator
) -> None:
    damaged, edited = (outside.upload_to(ELEMENT, b"x", f"{n}.txt") for n in range(2))
    operator.sql("update {table} set description = 'by hand' where file_id = $1", damaged.file_id)
    sidecar = operator.store.read(path_of(edited))
    operator.store.write(
        path_of(edited), sidecar.replace(b'"description":""', b'"description":"restored"')
    )
    report = outside.check(ELEMENT)
    assert report.stale_cache_count == 2
    assert set(report.details.stale_entries) == {damaged.file_id, edited.file_id}
    assert outside.incremental(ELEMENT).statistics.entries_updated == 2
    assert outside.get(ELEMENT, damaged.file_id).description == ""
    assert outside.get(ELEMENT, edited.file_id).description == "restored"
    assert_consistent(outside, 2)


def test_expired_entry_is_cleaned_up_and_stays_readable(
    outside: Outside, operator: Operator
) -> None:
    old, fresh = (outside.upload_to(ELEMENT, n.encode(), f"{n}.txt") for n in ("old", "fresh"))
    operator.age(old.file_id, hours=EXPIRED_HOURS)
    report = outside.check(ELEMENT)
    assert report.expired_cache_count == 1
    assert list(report.details.expired_entries) == [old.file_id]
    assert report.is_consistent

    assert outside.cleanup(ELEMENT) == 1
    assert list(operator.rows()) == [fresh.file_id]
    assert outside.check(ELEMENT).expired_cache_count == 0
    assert outside.cleanup(ELEMENT) == 0

    assert outside.download(ELEMENT, old.file_id)[1] == b"old"
    found = outside.get(ELEMENT, old.file_id)
    assert found.sha256 == old.sha256
    assert not found.cache_expired
    assert operator.rows().keys() == {old.file_id, fresh.file_id}
    assert_consistent(outside, 2)


def test_reading_an_expired_entry_refreshes_it(outside: Outside, operator: Operator) -> None:
    file = outside.upload_to(ELEMENT, b"look at me", "old.txt")
    operator.age(file.file_id, hours=EXPIRED_HOURS)
    listed = outside.list(ELEMENT).files[0]
    assert listed.file_id == file.file_id
    assert listed.cache_expired
    assert listed.cache_ttl_hours == 24

    found = outside.get(ELEMENT, file.file_id)
    assert not found.cache_expired
    assert not found.cache_stale
    assert found.cache_updated_at.ToDatetime() > listed.cache_updated_at.ToDatetime()
    assert same(found) == same(outside.list(ELEMENT).files[0])
    wait_until(lambda: len(_refreshes(operator, file)) == 1, 5.0, "the log tells of the refresh")


def _refreshes(operator: Operator, file: types_pb2.File) -> list[dict[str, Any]]:
    return operator.logged("Cache entry expired, triggering lazy rebuild", file_id=file.file_id)


def test_expired_entry_shows_an_edit_of_its_sidecar(outside: Outside, operator: Operator) -> None:
    file = outside.upload_to(ELEMENT, b"x", "edited.txt")
    sidecar = operator.store.read(path_of(file))
    operator.store.write(
        path_of(file), sidecar.replace(b'"description":""', b'"description":"by hand"')
    )
    operator.age(file.file_id, hours=EXPIRED_HOURS)
    batch = outside.storage(ELEMENT).BatchGetFiles(
        storage_pb2.BatchGetFilesRequest(file_ids=[file.file_id]), **outside.auth
    )
    assert [found.description for found in batch.files] == ["by hand"]
    assert_consistent(outside, 1)


@pytest.mark.parametrize("operator", ["se-01", "se-02", "se-03"], indirect=True)
def test_second_file_without_a_row_is_half_of_the_element(
    outside: Outside, operator: Operator
) -> None:
    element = operator.element_id
    files = [outside.upload_to(element, b"%d" % n, f"{n}.txt") for n in range(2)]
    operator.lose_rows(files[1].file_id)
    report = outside.check(element)
    assert (report.total_attr_files, report.total_cache_entries) == (2, 1)
    assert report.inconsistency_percentage == 50
    assert not report.is_consistent
    outside.incremental(element)
    report = outside.check(element)
    assert (report.total_attr_files, report.total_cache_entries) == (2, 2)
    assert report.inconsistency_percentage == 0
    assert report.is_consistent


def test_what_a_rebuild_finds_can_be_searched_and_what_it_drops_cannot(
    outside: Outside, operator: Operator
) -> None:
    """Query follows the element all the while; nobody asks it to read anything again."""
    word = f"w{secrets.token_hex(6)}"
    edited, removed = (
        outside.upload_to(ELEMENT, b"x", f"{n}.txt", description=f"{word} uploaded")
        for n in range(2)
    )
    kept = operator.store.read(path_of(removed))
    wait_until(lambda: _found(outside, word) == {edited.file_id, removed.file_id}, 20.0, "both")
    sidecar = operator.store.read(path_of(edited))
    operator.store.write(path_of(edited), sidecar.replace(b"uploaded", b"by hand"))
    operator.remove_file(removed)
    assert outside.rebuild(ELEMENT).statistics == cache_pb2.RebuildStatistics(
        attr_files_scanned=1, cache_entries_before=2, cache_entries_after=1,
        entries_updated=1, entries_deleted=1,
    )  # fmt: skip
    wait_until(lambda: _found(outside, word) == {edited.file_id}, 20.0, "the removed one goes")
    wait_until(lambda: _found(outside, f"{word} hand") == {edited.file_id}, 20.0, "the edit shows")
    operator.store.write(path_of(removed).removesuffix(SIDECAR_SUFFIX), b"x")
    operator.store.write(path_of(removed), kept)
    assert outside.incremental(ELEMENT).statistics.entries_created == 1
    both = {edited.file_id, removed.file_id}
    wait_until(lambda: _found(outside, word) == both, 20.0, "it is found again")


def _found(outside: Outside, words: str) -> set[str]:
    answer = outside.query.SearchFiles(query_pb2.SearchFilesRequest(query=words), **outside.auth)
    return {result.file.file_id for result in answer.results}


def test_calls_on_a_single_file_are_measured(
    mesh: MeshProcess,
    outside: Outside,
    operator: Operator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = outside.upload_to(ELEMENT, b"timed", "timed.txt")

    def expire() -> None:
        operator.age(file.file_id, hours=EXPIRED_HOURS)

    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "check": (lambda: None, lambda: outside.check(ELEMENT)),
        "rebuild": (lambda: None, lambda: outside.rebuild(ELEMENT)),
        "incremental": (lambda: None, lambda: outside.incremental(ELEMENT)),
        "lazy": (expire, lambda: outside.get(ELEMENT, file.file_id)),
        "cleanup": (expire, lambda: outside.cleanup(ELEMENT)),
    }
    told = []
    for name, (prepare, call) in calls.items():
        took = []
        for _ in range(11):
            prepare()
            began = time.perf_counter()
            call()
            took.append((time.perf_counter() - began) * 1000)
            outside.get(ELEMENT, file.file_id)
        told.append(f"{name} {statistics.median(took):.1f} ms")
    backend = "local" if operator.is_local else "S3"
    with capsys.disabled():
        print(f"\n1 file, {backend}, p50: {', '.join(told)}")

"""Sidecars that can't be used: each is reported, none stops the others, none costs a row."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from storage_server.domain.sidecar import Sidecar, encode
from tests.faults.cache.element import ELEMENT, SIDECAR_SUFFIX, ElementProcess
from tests.support.broken_sidecars import BREAKS
from tests.support.cache_rig import a_sidecar, path_of

LEVELS = (1, 2, 3)
SHOWN = 10


def as_a_folder(element: ElementProcess, sidecar: Sidecar) -> None:
    """Put a folder with something in it where the sidecar should be."""
    path = path_of(sidecar)
    if path in element.store.paths():
        element.store.remove(path)
    element.store.write(f"{path}/something", b"x")


def test_each_is_reported_none_stops_the_others_and_none_costs_a_row(
    element: ElementProcess,
) -> None:
    names = [*BREAKS, "a folder"]
    good = element.put_files(3)
    known = dict(zip(names, element.put_files(len(names), description=""), strict=True))
    element.caller.rebuild(ELEMENT)
    before = element.records()
    new = dict(zip(names, element.put_files(len(names), description=""), strict=True))
    for name in names:
        for sidecar in (known[name], new[name]):
            if name == "a folder":
                as_a_folder(element, sidecar)
            else:
                element.store.write(path_of(sidecar), BREAKS[name](encode(sidecar)))
    element.sql("DELETE FROM {files} WHERE file_id = $1", good[0].file_id)
    broken = {path_of(one) for some in (known, new) for one in some.values()}

    for level in LEVELS:
        report = element.caller.check(ELEMENT, level)
        assert report.invalid_attr_count == len(broken), list(report.details.invalid_attr_files)
        assert len(report.details.invalid_attr_files) == SHOWN
        assert {one.partition(": ")[0] for one in report.details.invalid_attr_files} <= broken
        assert (report.orphan_attr_count, report.orphan_cache_count) == (1, 0)
        assert (report.stale_cache_count, report.missing_blob_count) == (0, 0)
        assert report.total_attr_files == len(broken) + 3
        assert report.total_cache_entries == len(before) - 1
        wrong, union = len(broken) + 1, len(broken) + 3
        assert report.inconsistency_percentage == pytest.approx(100 * wrong / union)
    for rebuild in (element.caller.incremental, element.caller.rebuild):
        result = rebuild(ELEMENT)
        assert result.error_count == len(broken)
        assert len(result.errors) == SHOWN
        assert {one.partition(": ")[0] for one in result.errors} <= broken
        assert result.statistics.entries_deleted == 0
        after = element.records()
        assert after.pop(good[0].file_id) is not None
        unlike = {i for i, row in before.items() if i in after and after[i] != row}
        # A full rebuild renews those that it found right, and no other.
        assert unlike <= {one.file_id for one in good}
        assert after.keys() == before.keys() - {good[0].file_id}


def test_of_two_with_one_id_one_wins_and_both_are_reported(element: ElementProcess) -> None:
    (home,) = element.put_files(1)
    element.caller.rebuild(ELEMENT)
    copy = replace(home, storage_path="2026/01/02/03", description="a copy")
    element.store.write(path_of(copy), encode(copy))
    for lost in (False, True):
        if lost:
            element.sql("DELETE FROM {files}")
        for rebuild in (element.caller.incremental, element.caller.rebuild):
            report = element.caller.check(ELEMENT)
            assert report.invalid_attr_count == 1
            assert path_of(copy) in report.details.invalid_attr_files[0]
            assert path_of(home) in report.details.invalid_attr_files[0]
            result = rebuild(ELEMENT)
            assert result.error_count == 1
            assert path_of(copy) in result.errors[0]
            assert element.rows() == {home.file_id: home}
    element.store.remove(path_of(home))
    element.caller.rebuild(ELEMENT)
    assert element.rows() == {home.file_id: copy}


def test_a_broken_sidecar_answers_data_loss_and_the_file_comes_back_with_it(
    element: ElementProcess,
) -> None:
    made = element.caller.upload_to(ELEMENT, b"whole", "a.txt")
    path = f"{made.storage_path}/{made.storage_filename}{SIDECAR_SUFFIX}"
    content = element.store.read(path)
    element.store.write(path, content[:100])
    # The row is the best that is known.
    assert element.caller.get(ELEMENT, made.file_id).sha256 == made.sha256
    for call in (
        lambda: element.caller.update(ELEMENT, made.file_id, paths=["version"], version="2"),
        lambda: element.caller.delete(ELEMENT, made.file_id),
    ):
        with pytest.raises(grpc.RpcError) as error:
            call()
        assert error.value.code() is grpc.StatusCode.DATA_LOSS
    assert element.store.read(path) == content[:100]
    element.store.write(path, content)
    assert element.caller.rebuild(ELEMENT).error_count == 0
    assert element.caller.check(ELEMENT, LEVELS[-1]).is_consistent
    assert element.caller.download(ELEMENT, made.file_id)[1] == b"whole"


def test_an_adopted_file_with_an_id_of_another_kind_is_found_by_its_row(
    element: ElementProcess,
) -> None:
    adopted = a_sidecar(
        file_id="2f8e3d0a-0000-4000-8000-00000000000a",
        storage_filename="plain.pdf",
        storage_path="2019/01/02/03",
        created_at=a_sidecar().created_at,
    )
    element.store.write(path_of(adopted), encode(adopted))
    element.store.write(path_of(adopted).removesuffix(SIDECAR_SUFFIX), b"hello")
    assert element.caller.check(ELEMENT).orphan_attr_count == 1
    assert element.caller.incremental(ELEMENT).statistics.entries_created == 1
    assert element.caller.check(ELEMENT).is_consistent
    assert element.caller.download(ELEMENT, adopted.file_id)[1] == b"hello"

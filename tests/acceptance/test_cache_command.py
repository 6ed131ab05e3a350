"""`artstore cache ...` against a running mesh: words, JSON lines and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from artstore.v1 import cache_pb2, types_pb2
from artstore_client.cli import app
from tests.acceptance.element_operator import Operator, path_of
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

ELEMENT = "se-03"


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one line of JSON."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


Artstore = Callable[..., Ended]


@pytest.fixture
def artstore(
    slow_mesh: MeshProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Artstore:
    """Runs `artstore cache` as the first account."""
    monkeypatch.setenv("ARTSTORE_MESH", str(slow_mesh.mesh_file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = app.run(["cache", *arguments])
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def outside(slow_mesh: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(slow_mesh.file) as caller:
        yield caller


@pytest.fixture(scope="module")
def operator(slow_mesh: MeshProcess) -> Operator:
    """The operator of the element."""
    return Operator(slow_mesh, ELEMENT)


@pytest.fixture(scope="module")
def files(outside: Outside) -> list[types_pb2.File]:
    """The two files of the element."""
    return [outside.upload_to(ELEMENT, b"x", f"{n}.txt") for n in range(2)]


@pytest.fixture(autouse=True)
def consistent(outside: Outside, operator: Operator, files: list[types_pb2.File]) -> None:
    """Each test begins with all rows there and fresh, and no follower that asks for one."""
    outside.rebuild(ELEMENT, wait_seconds=10)
    operator.wait_until_followed()


def test_check_says_in_words_and_by_its_exit_code_what_it_found(
    artstore: Artstore, operator: Operator, files: list[types_pb2.File]
) -> None:
    ended = artstore("check", ELEMENT)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{ELEMENT}  consistent  0 %  2 sidecars, 2 rows  (full, ")
    operator.lose_rows(files[0].file_id)
    ended = artstore("check", ELEMENT, "--level", "deep")
    assert ended.code == 1
    verdict, kind, example = ended.out.splitlines()
    assert verdict.startswith(f"{ELEMENT}  INCONSISTENT  50 %  2 sidecars, 1 rows  (deep, ")
    assert kind == "  1 sidecars without a row"
    assert example.strip().startswith(files[0].storage_path)


def test_a_renamed_file_is_told_with_what_to_do_and_gets_its_name_back(
    artstore: Artstore, operator: Operator, outside: Outside, files: list[types_pb2.File]
) -> None:
    path = path_of(files[0])
    folder, _, name = path.rpartition("/")
    other = f"{folder}/{name.upper()}"
    operator.store.write(other, operator.store.read(path))
    operator.store.remove(path)
    ended = artstore("check", ELEMENT)
    assert ended.code == 0
    verdict, kind, example = ended.out.splitlines()
    assert verdict.startswith(f"{ELEMENT}  consistent  0 %  2 sidecars, 2 rows")
    assert kind == "  1 files under another form of their name"
    assert "same file under another form of its name" in example
    assert f"artstore cache rebuild {ELEMENT} --restore-names" in ended.err
    found = artstore("check", ELEMENT, "--json").document
    assert (found["renamed_count"], len(found["details"]["renamed_files"])) == (1, 1)
    ended = artstore("rebuild", ELEMENT, "--restore-names")
    assert (ended.code, ended.err) == (0, "")
    assert "1 names restored" in ended.out
    assert operator.sidecar(files[0])["file_id"] == files[0].file_id
    assert artstore("check", ELEMENT).err == ""


def test_json_is_one_line_with_the_fields_of_the_contract(
    artstore: Artstore, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    ended = artstore("check", ELEMENT, "--json")
    assert ended.code == 1
    assert ended.document["storage_element_id"] == ELEMENT
    assert ended.document["inconsistency_percentage"] == 50
    assert ended.document["orphan_attr_count"] == 1
    ended = artstore("incremental", ELEMENT, "--json")
    assert (ended.code, ended.document["statistics"]["entries_created"]) == (0, 1)
    operator.age(files[0].file_id)
    ended = artstore("cleanup", ELEMENT, "--json")
    assert (ended.code, ended.document["deleted_count"]) == (0, 1)
    ended = artstore("rebuild", ELEMENT, "--json")
    assert (ended.code, ended.document["operation_kind"]) == (0, "full_rebuild")
    assert ended.document["statistics"]["cache_entries_after"] == 2


def test_repairs_are_summed_up_for_a_person(
    artstore: Artstore, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    ended = artstore("rebuild", ELEMENT)
    assert ended.code == 0
    assert ended.out.startswith(f"{ELEMENT}  full  2 sidecars  rows 1 -> 2  +1 ~0 -0  (")
    ended = artstore("incremental", ELEMENT)
    assert ended.out.startswith(f"{ELEMENT}  incremental  2 sidecars  rows 2 -> 2  +0 ~0 -0  (")
    ended = artstore("cleanup", ELEMENT)
    assert ended.out.startswith(f"{ELEMENT}  0 expired rows removed")


def test_lock_is_listed_and_taken_away(
    artstore: Artstore, outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    with operator.writes_blocked() as wait_blocked:
        request = cache_pb2.RebuildCacheRequest(operation_id="to-be-unlocked")
        running = outside.cache(ELEMENT).RebuildCache.future(request, **outside.auth)
        wait_blocked()
        listed = artstore("locks", ELEMENT, "--json").document
        assert (listed["kind"], listed["operation_id"]) == ("manual_rebuild", "to-be-unlocked")
        table = artstore("locks", ELEMENT)
        assert listed["holder"] in table.out
        refused = artstore("check", ELEMENT)
        assert (refused.code, refused.out) == (1, "")
        assert "LOCK_HELD" in refused.err
        assert listed["holder"] in refused.err
        fence = str(listed["fence"])
        ended = artstore("unlock", ELEMENT, "manual_rebuild", "--fence", fence)
        assert (ended.code, ended.out) == (0, "released\n")
        assert running.exception() is not None
    assert artstore("unlock", ELEMENT, "manual_rebuild").out == "there was none\n"
    ended = artstore("unlock", ELEMENT, "manual_rebuild", "--json")
    assert ended.document == {"storage_element_id": ELEMENT, "released": False}
    watched = artstore("watch", ELEMENT, "to-be-unlocked")
    assert "preempted" in watched.out


def test_wrong_arguments_are_usage_and_unknown_operations_not_found(artstore: Artstore) -> None:
    assert artstore("check", "se-99").code == 2
    assert artstore("check", ELEMENT, "--wait", "-1").code == 2
    assert artstore("check", ELEMENT, "--level", "sideways").code == 2
    assert artstore("unlock", ELEMENT, "no_such_kind").code == 2
    assert artstore("cancel", ELEMENT, "nobody").code == 3
    assert artstore("unlock", ELEMENT, "lazy_rebuild").code == 2


def metrics_of(outside: Outside, element_id: str) -> dict[tuple[str, frozenset[Any]], float]:
    """The samples of an element's metrics page."""
    page = outside.file.metrics(outside.file.endpoints["storage"][element_id])
    families = text_string_to_metric_families(page)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_an_operator_watches_is_on_the_metrics_page(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    def value(name: str, **labels: str) -> float:
        return now.get((name, frozenset(labels.items())), 0.0)

    now = metrics_of(outside, ELEMENT)
    method = "/artstore.v1.CacheService/CheckConsistency"
    calls = value("artstore_call_duration_seconds_count", method=method)
    assert value("artstore_log_lines_total", level="error") == 0
    assert ("artstore_log_lines_total", frozenset({("level", "critical")})) in now
    operator.age(files[0].file_id)
    operator.lose_rows(files[1].file_id)
    outside.check(ELEMENT)
    now = metrics_of(outside, ELEMENT)
    assert value("artstore_cache_inconsistency_percentage", element=ELEMENT) == 50
    assert value("artstore_cache_expired_rows", element=ELEMENT) == 1
    assert value("artstore_cache_findings", element=ELEMENT, kind="orphan_attr_files") == 1
    assert value("artstore_cache_findings", element=ELEMENT, kind="orphan_cache_entries") == 0
    assert value("artstore_call_duration_seconds_count", method=method) == calls + 1
    assert value("artstore_call_duration_seconds_sum", method=method) > 0


def test_all_elements_are_checked_when_none_is_named(artstore: Artstore) -> None:
    ended = artstore("check", "--json", "--wait", "10")
    documents = [json.loads(line) for line in ended.out.splitlines()]
    assert [one["storage_element_id"] for one in documents] == ["se-01", "se-02", "se-03"]

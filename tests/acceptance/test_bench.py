"""The benchmarks at tiny sizes: each part runs, and shows its rows with floor and goal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from bench import (
    audit,
    drawing,
    followers,
    growth,
    idle,
    life,
    live,
    memory,
    one_file,
    rebuild,
    s3,
    search,
    uploads,
)
from bench.figures import Figure, Results, Spread, read_book, write_book
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.peers.object_store import object_store
from bench.processor import Used, used_by
from bench.report import CHANGE, GROWTH, as_markdown, write_page
from tests.support.mesh import MeshProcess
from tests.support.waiting import wait_until

FILES = 12
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "TAKE_UP_SECONDS", 0.1)
    monkeypatch.setattr(growth, "CALLS", 5)
    monkeypatch.setattr(growth, "FEWEST", 5)
    monkeypatch.setattr(idle, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(life, "WARM_UP", 0)
    monkeypatch.setattr(live, "READ_SECONDS", 0.1)
    monkeypatch.setattr(search, "SEARCHES", 2)
    monkeypatch.setattr(search, "FAR_PAGE", 2)


def _shown(results: Results) -> set[str]:
    """Keys of the rows of the contract that were measured."""
    names = {one.name for one in results.figures}
    return {key for key, row in ROWS.items() if row.name in names}


async def test_what_is_measured_of_local_files_runs_and_shows_its_rows(
    own_mesh: Callable[..., MeshProcess],
) -> None:
    results = Results({}, {})
    mesh = Mesh.of(own_mesh().mesh_file)
    async with mesh.client:
        results.figures += await one_file.operations(mesh, repeats=1)
        await rebuild.local(results, mesh, files=FILES, rounds=1, read_seconds=0.1)
        results.figures += await rebuild.one_folder(mesh, files=FILES, rounds=1)
        await followers.following(results, mesh, files=FILES, rounds=1)
        await growth.growing(results, mesh, most=2 * FILES, rounds=1)
        await live.rebuild(results, mesh, files=3 * FILES, read_seconds=0.1)
        results.figures += await search.searchable(mesh, upload_seconds=0.1)
        results.figures += await search.filtered(mesh, rows=1000, rounds=1)
        results.figures += await idle.idling(mesh, seconds=0.1, rounds=1)

    page = as_markdown({"all": results})
    for row in (
        "1 file, cleanup, p50",
        f"full rebuild, from nothing, {FILES} local files",
        "GetFile p99 at 100/s, during full rebuilds, s",
        "event loop blocked, se-01",
        f"live rebuild of {3 * FILES} files, GetFile refused, calls",
        f"memory growth, se-01, rebuild of {2 * FILES} files",
        "upload to searchable at 20 uploads/s, p99",
        "common word, page 2, p95",
    ):
        assert row in page
    assert _shown(results) == {
        *("rebuild", "rebuild us", "reads", "refused", "check", "incremental", "unchanged"),
        *("followers", "query unchanged", "query new", "admin unchanged", "admin new"),
        *("search rare", "search common", "idle", "quick"),
    }
    # At 5 and at 24 files.
    assert [len(points) for points in results.growth.values()] == [2] * 9
    picture = ElementTree.fromstring(drawing.curves(results.growth))
    assert len(picture.findall(f"{SVG}polyline")) == 9


async def test_what_is_measured_of_transfers_and_s3_runs_and_shows_its_rows(
    tmp_path: Path, own_mesh: Callable[..., MeshProcess]
) -> None:
    results = Results({}, {})
    with object_store(tmp_path / "buckets", counting=True) as store:
        mesh = Mesh.of(own_mesh(**store.environment()).mesh_file)
        async with mesh.client:
            results.figures += await s3.operations(mesh, store, files=FILES, rounds=1)
            results.figures += await s3.sidecar_reads(mesh, store, files=FILES)
            results.figures += await s3.transfers(mesh, store, rounds=1, size=3_000_000)
            results.figures += await memory.growth(mesh, size=3_000_000, label="tiny")
            await uploads.uploads(
                results, mesh, size=3_000_000, rounds=1, folder=tmp_path, where=uploads.IN_MEMORY
            )
            results.figures += await audit.cost(mesh, changes=4, rounds=1)
            results.figures += await life.finalizations(mesh, files=1, size=1000, label="tiny")
            results.figures += await life.small_files(mesh, files=2, rounds=1, label="tiny")
            results.figures += await life.large_files(mesh, size=3_000_000, rounds=1, label="tiny")

    reads = next(one for one in results.figures if one.name.startswith("sidecars read"))
    assert reads.value.median == 0
    page = as_markdown({"all": results})
    for row in (
        "upload, ingest, in memory: ingest, us/MiB",
        "memory growth, ingest, upload",
        "audit, processor time of a change",
        "through ingest, tiny, p95, s",
        "files of 2 kB moved, 2 asked for at once",
        "MoveFile, of a bare Download + Upload",
    ):
        assert row in page
    # BuildGrid is a peer that `make bench` installs.
    assert _shown(results) - {"buildgrid in memory"} == {
        *("element", "client", "direct in memory", "ingest in memory"),
        *("s3 rebuild", "s3 unchanged", "s3 upload", "s3 download"),
    }


@pytest.mark.full
@pytest.mark.timeout(3600)
async def test_a_million_files_come_back_in_little_memory_while_all_are_readable(
    own_mesh: Callable[..., MeshProcess],
) -> None:
    results = Results({}, {})
    mesh = Mesh.of(own_mesh().mesh_file)
    async with mesh.client:
        await live.rebuild(results, mesh, files=1_000_000, read_seconds=10)

    print(as_markdown({"live": results}, whole=False))
    found = {one.name: one.value.median for one in results.figures}
    assert found["live rebuild of 1,000,000 files, GetFile refused, calls"] == 0
    assert found["memory growth, se-01, live rebuild of 1,000,000 files, MiB"] < 200


def test_processor_time_is_that_of_children_too_when_they_have_ended() -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        family = psutil.Process(process.pid)
        wait_until(lambda: family.cpu_times().children_user > 0, 20, "its child has ended")
        used = used_by(process.pid)
        process.communicate(b"\n")

    assert used.seconds >= 0.19
    assert used.faults > 0
    assert used_by(process.pid) == Used()


def test_each_row_of_the_contract_is_shown_measured_or_not(tmp_path: Path) -> None:
    book = {"part": Results({}, {}, [ROWS["idle"].measured([3.0])])}

    page = as_markdown(book).splitlines()

    for row in ROWS.values():
        (line,) = (line for line in page if line.startswith(f"| {row.name} |"))
        assert ("not measured" in line) == (row is not ROWS["idle"])
        assert ("floor held, goal missed" in line) == (row is ROWS["idle"])


def test_parts_of_several_runs_make_one_page_beside_those_of_before(tmp_path: Path) -> None:
    rates = Figure("rate, MiB/s", Spread.of([1, 3, 2]))
    curve = {"check": [(1000, 0.1), (10000, 1.0)]}
    write_book(tmp_path / "one.json", {"a": Results({"processor": "x"}, {}, [rates], curve)})
    book = read_book(tmp_path / "one.json")
    book["b"] = Results({}, {"rounds": 3}, [ROWS["idle"].measured([1.0])])
    before = {"b": Results({}, {}, [ROWS["idle"].measured([10.0])], curve)}

    write_page(tmp_path, book, before)

    page = (tmp_path / "report.md").read_text()
    assert "| rate, MiB/s | – | 2 (1 to 3, 3 rounds) |" in page
    assert f"| {ROWS['idle'].name} | 10 | 1 | 5 | 2 | goal met |" in page
    assert "- a: processor x" in page
    changed = ElementTree.fromstring((tmp_path / CHANGE).read_text())
    assert len(changed.findall(f"{SVG}circle")) == 2
    grown = ElementTree.fromstring((tmp_path / GROWTH).read_text())
    assert len(grown.findall(f"{SVG}polyline")) == 2

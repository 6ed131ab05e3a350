"""The benchmarks at tiny sizes: each part runs, and shows its rows with floor and goal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import audit, cache, growth, life, memory, one_file, s3, search
from bench.figures import Results
from bench.meshes import Mesh
from bench.peers.object_store import object_store
from bench.report import as_markdown
from tests.support.mesh import MeshProcess

FILES = 12


async def test_every_part_of_the_bench_runs_and_shows_its_rows(
    tmp_path: Path, own_mesh: Callable[..., MeshProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "TAKE_UP_SECONDS", 0.1)
    monkeypatch.setattr(life, "WARM_UP", 0)
    monkeypatch.setattr(search, "SEARCHES", 2)
    monkeypatch.setattr(search, "FAR_PAGE", 2)
    results = Results({}, {})
    with object_store(tmp_path / "buckets") as store:
        mesh = Mesh.of(own_mesh(**store.environment()).mesh_file)
        async with mesh.client:
            results.figures += await one_file.operations(mesh, repeats=1)
            results.figures += await s3.operations(mesh, store, files=FILES, rounds=1)
            await cache.local(
                results,
                mesh,
                store.place("storage_element_01"),
                files=FILES,
                rounds=1,
                read_seconds=0.1,
            )
            results.figures += await memory.growth(mesh, size=3_000_000, label="tiny")
            results.figures += await search.searchable(mesh, upload_seconds=0.1)
            results.figures += await search.filtered(mesh, rows=1000, rounds=1)
            results.figures += await audit.cost(mesh, changes=4, rounds=1)
            results.figures += await life.finalizations(mesh, files=1, size=1000, label="tiny")
            results.figures += await life.small_files(mesh, files=2, rounds=1, label="tiny")
            results.figures += await life.large_files(mesh, size=3_000_000, rounds=1, label="tiny")

    reads = next(one for one in results.figures if one.name.startswith("sidecars read"))
    assert reads.value.median == 0
    page = as_markdown(results)
    for row in (
        "1 file, cleanup, p50",
        f"full rebuild, from nothing, {FILES} local files",
        "GetFile p99 at 100/s, during full rebuilds, s",
        "event loop blocked, se-01",
        "full rebuild, unchanged, of a bare listing",
        "memory growth, ingest, upload",
        "upload to searchable at 20 uploads/s, p99",
        "common word, page 2, p95",
        "audit, processor time of a change",
        "through ingest, tiny, p95, s",
        "files of 2 kB moved, 2 asked for at once",
        "MoveFile, of a bare Download + Upload",
    ):
        assert row in page
    drawing = ElementTree.fromstring(growth.as_svg(results.growth))
    assert len(drawing.findall("{*}polyline")) == len(results.growth) == 5

"""How the workers share the tests: file by file, but the shared meshes belong to one of them.

Each worker that met a test of the shared meshes would start meshes of its own. Their tests come
first, since idle meshes would take a fifth of a core from all other tests.

All workers read all files. Each begins elsewhere, and finds the others' compiled when it comes to
them: in a fresh checkout that takes twice as long as all the rest before the first test.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support import mesh as meshes

SHARED_MESHES = frozenset(
    {
        "tests/acceptance/test_admission.py",
        "tests/acceptance/test_cache_sync.py",
        "tests/acceptance/test_explain.py",
        "tests/acceptance/test_first_files.py",
        "tests/acceptance/test_open_uploads.py",
        "tests/acceptance/test_other_users.py",
        "tests/acceptance/test_put_folder.py",
        "tests/acceptance/test_names.py",
        "tests/acceptance/test_readme.py",
        "tests/acceptance/test_retention_command.py",
        "tests/acceptance/test_search.py",
        "tests/acceptance/test_selftest.py",
        "tests/acceptance/test_settings.py",
        "tests/acceptance/test_trash.py",
        "tests/faults/test_bad_input.py",
        "tests/faults/test_large_files.py",
        "tests/faults/test_tokens.py",
        "tests/integration/client/test_library.py",
    }
)


class ByFile(LoadFileScheduling):
    """Files of the shared meshes are one unit of work, each other file is one."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "the shared meshes" if file in SHARED_MESHES else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """The scheduler of `--dist loadfile`."""
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def read_in_turn(config: pytest.Config) -> None:
    """Have this worker, if it is one, begin at a place of its own with the files of a whole run."""
    worker = getattr(config, "workerinput", None)
    folders = [config.rootpath / name for name in config.getini("testpaths")]
    if worker is None or [config.invocation_params.dir / one for one in config.args] != folders:
        return
    files = sorted(str(file) for folder in folders for file in folder.rglob("test_*.py"))
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    config.args = files[first:] + files[:first]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a test of the shared meshes in a file that is not known to have such."""
    assert _is_of_shared(item) or not _has_shared_mesh(item), f"{item.path} is not in SHARED_MESHES"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the shared meshes first, and all in one order, wherever a worker began."""
    items.sort(key=lambda item: (not _is_of_shared(item), item.path))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the shared meshes after the last test of theirs."""
    if nextitem is not None and _is_of_shared(item) and not _is_of_shared(nextitem):
        for mesh in meshes.shared:
            mesh.stop()


def _is_of_shared(item: pytest.Item) -> bool:
    return item.nodeid.partition("::")[0] in SHARED_MESHES


def _has_shared_mesh(item: Any) -> bool:
    fixtures = item._fixtureinfo.name2fixturedefs
    return any(
        found[-1].func.__module__ == meshes.__name__
        for name, found in fixtures.items()
        if name in ("mesh", "mesh_local", "mesh_s3")
    )

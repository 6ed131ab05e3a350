"""What commands changed lately is waited for by a search, and by no other mesh's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from artstore_client.cli import own_changes
from tests.support.strangers import STRANGER, as_root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "artstore" / "changes"


def test_changes_are_recalled_for_ten_minutes_by_mesh() -> None:
    own_changes.remember("one", ["a.e.1", "b.e.2"], clock=lambda: 1000.0)
    own_changes.remember("one", ["a.e.3"], clock=lambda: 1500.0)
    own_changes.remember("two", ["x.e.1"], clock=lambda: 1500.0)
    assert own_changes.recall("one", clock=lambda: 1600.0) == ["a.e.1", "b.e.2", "a.e.3"]
    assert own_changes.recall("one", clock=lambda: 1700.0) == ["a.e.3"]
    assert own_changes.recall("one", clock=lambda: 2101.0) == []
    assert own_changes.recall("three") == []


def test_a_file_that_is_damaged_or_too_large_is_no_obstacle(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "one").write_bytes(b"\xff\n\nx y\n12\n" * 20_000)
    assert own_changes.recall("one", clock=lambda: 0.0) == []
    own_changes.remember("one", ["a.e.1"], clock=lambda: 5.0)
    assert (cache / "one").read_text() == "5 a.e.1\n"


def test_a_folder_that_cannot_be_written_is_no_obstacle(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file is in the way")
    own_changes.remember("one", ["a.e.1"])
    assert own_changes.recall("one") == []


@pytest.mark.parametrize("planted", ["link", "hard link", "FIFO"])
def test_what_others_planted_in_its_place_is_neither_read_nor_written(
    cache: Path, tmp_path: Path, planted: str
) -> None:
    cache.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("1000 a.e.1\n")
    if planted == "link":
        (cache / "one").symlink_to(precious)
    elif planted == "hard link":
        (cache / "one").hardlink_to(precious)
    else:
        os.mkfifo(cache / "one")
    own_changes.remember("one", ["b.e.2"], clock=lambda: 1000.0)
    assert own_changes.recall("one", clock=lambda: 1000.0) == []
    assert precious.read_text() == "1000 a.e.1\n"


@as_root
def test_the_folder_of_another_account_is_not_used(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "one").write_text("1000 a.e.1\n")
    os.chown(cache, STRANGER, STRANGER)
    own_changes.remember("one", ["b.e.2"], clock=lambda: 1000.0)
    assert own_changes.recall("one", clock=lambda: 1000.0) == []
    assert (cache / "one").read_text() == "1000 a.e.1\n"

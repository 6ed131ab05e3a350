"""Where PostgreSQL's socket lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch import socket_folder
from launch.socket_folder import SocketFolderFailed, make_private, socket_folder_of

FAR = Path("/data") / ("я" * 60) / "postgres"


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lets a test say what TMPDIR is."""
    monkeypatch.setattr(socket_folder.tempfile, "tempdir", None)
    return monkeypatch


def test_socket_of_a_short_path_lies_beside_the_cluster() -> None:
    assert socket_folder_of(Path("/data/postgres")) == Path("/data/postgres.socket")
    assert socket_folder_of(Path("/мои данные/postgres")) == Path("/мои данные/postgres.socket")


@pytest.mark.parametrize("folder", [FAR, Path("/data,more/postgres")])
def test_socket_of_a_path_that_is_no_place_for_one_lies_elsewhere(folder: Path) -> None:
    moved = socket_folder_of(folder)
    assert len(os.fsencode(moved / ".s.PGSQL.65535")) < 104
    assert moved == socket_folder_of(folder)
    assert moved != socket_folder_of(folder.with_name("other"))


@pytest.mark.parametrize("name", ["missing", "f" * 100])
def test_folder_of_temporary_files_that_is_missing_or_too_long_is_passed_over(
    name: str, temporary: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("f" * 100)
    long.mkdir()
    temporary.setenv("TMPDIR", str(tmp_path / name))
    assert socket_folder_of(FAR).parent in {Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}


def test_link_that_somebody_put_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "socket").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SocketFolderFailed, match="remove it"):
        make_private(tmp_path / "socket", None)
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_folder_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    (tmp_path / "socket").mkdir(mode=0o755)
    make_private(tmp_path / "socket", None)
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o700

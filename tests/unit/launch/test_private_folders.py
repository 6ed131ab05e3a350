"""A data folder is its account's alone, also one that was made when it was not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from launch.data_folder import DataFolder, DataFolderUnusable
from launch.os_user import OsUser
from mesh.private import close_to_others


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_existing_folder_and_what_lies_open_in_it_are_closed_at_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("logs", "keys", "audit", "valkey"):
        (data / name).mkdir(parents=True)
        (data / name).chmod(0o755)
    log, mesh_file = data / "logs" / "se-01.log.1", data / "mesh.json"
    for path in (log, mesh_file):
        path.touch()
        path.chmod(0o644)
    data.chmod(0o775)
    with DataFolder(data).held():
        assert {mode(path) for path in (data, *data.glob("*/"))} == {0o700}
        assert mode(log) == mode(mesh_file) == 0o600


def test_folder_stays_one_to_pass_through_where_postgresql_could_not_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OsUser, "needed", lambda: OsUser("somebody", 90, 91))
    monkeypatch.setattr(OsUser, "passes_through_folders", lambda _: False)
    tmp_path.chmod(0o755)
    with DataFolder(tmp_path).held():
        assert mode(tmp_path) == 0o711


@pytest.mark.parametrize("planted", ["folder", "link"])
def test_what_a_stranger_made_in_a_folder_of_all_is_refused(planted: str, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "only root can make what is somebody else's"
    tmp_path.chmod(0o777 | stat.S_ISVTX)
    data = tmp_path / "data"
    if planted == "folder":
        data.mkdir(mode=0o755)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o755)
        data.symlink_to(tmp_path / "elsewhere")
    os.chown(data, 54321, 54321, follow_symlinks=False)
    with pytest.raises(DataFolderUnusable, match="belongs to uid 54321"), DataFolder(data).held():
        pass
    assert mode(data) == 0o755


def test_folder_of_all_accounts_is_left_to_all(tmp_path: Path) -> None:
    tmp_path.chmod(0o777 | stat.S_ISVTX)
    close_to_others(tmp_path)
    close_to_others(tmp_path / "missing")
    assert mode(tmp_path) == 0o777 | stat.S_ISVTX


def test_group_keeps_what_it_is_let(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    log.chmod(0o646)
    close_to_others(log, keep=0o070)
    assert mode(log) == 0o640

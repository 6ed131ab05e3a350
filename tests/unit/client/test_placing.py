"""Nothing that another account put into a folder turns a download to what it was not meant for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artstore_client.downloads.part_files import open_part
from artstore_client.downloads.placing import look_at, put_in_place
from tests.support.strangers import STRANGER, as_root, as_stranger, shared_folder


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        yield folder


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("precious")
    return path


def write(given: Path, data: bytes = b"downloaded") -> None:
    """What a download with --force does."""
    target = look_at(given, overwrite=True)
    assert target.is_file
    with open_part(target.real.parent, ".id.part", whole=False) as part:
        part.file.write(data)
        put_in_place(part, target)


@as_root
def test_a_link_of_another_account_is_not_followed(shared: Path, precious: Path) -> None:
    as_stranger(lambda: (shared / "report").symlink_to(precious))
    with pytest.raises(PermissionError, match="is a link that belongs to another account") as told:
        write(shared / "report")
    assert told.value.filename == str(shared / "report")
    assert precious.read_text() == "precious"


@as_root
def test_no_folder_is_reached_by_a_link_of_another_account(shared: Path, tmp_path: Path) -> None:
    as_stranger(lambda: (shared / "out").symlink_to(tmp_path))
    for given in (shared / "out" / "report", shared / "out" / ".." / "report"):
        with pytest.raises(PermissionError, match="out is a link that belongs to another account"):
            write(given)
    assert list(tmp_path.iterdir()) == []


@as_root
def test_a_link_of_ours_that_leads_to_one_of_another_account_is_not_followed(
    shared: Path, precious: Path
) -> None:
    as_stranger(lambda: (shared / "theirs").symlink_to(precious))
    (shared / "ours").symlink_to("theirs")
    with pytest.raises(PermissionError):
        write(shared / "ours")
    assert precious.read_text() == "precious"


def test_links_of_ours_are_followed(shared: Path, precious: Path) -> None:
    (shared / "folder").symlink_to(precious.parent)
    (shared / "link").symlink_to("folder/precious")
    write(shared / "link")
    assert (shared / "link").is_symlink()
    assert precious.read_text() == "downloaded"


@as_root
@pytest.mark.parametrize("planted", ["file", "FIFO"])
def test_what_another_account_holds_ready_where_everybody_writes_gets_no_bytes(
    shared: Path, planted: str
) -> None:
    path = shared / "report"

    def plant() -> None:
        path.touch() if planted == "file" else os.mkfifo(path)
        path.chmod(0o666)

    as_stranger(plant)
    with pytest.raises(PermissionError, match=f"uid {STRANGER}"):
        write(path)
    assert path.lstat().st_size == 0


@as_root
def test_a_file_of_a_colleague_in_a_folder_of_theirs_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_text("before")
    os.chown(path, STRANGER, STRANGER)
    os.chown(tmp_path, STRANGER, STRANGER)
    write(path)
    assert path.read_text() == "downloaded"
    assert path.stat().st_uid == STRANGER


def test_a_second_name_of_a_file_is_not_written_through_where_others_write(
    shared: Path, precious: Path
) -> None:
    (shared / "report").hardlink_to(precious)
    with pytest.raises(PermissionError, match="has other names"):
        write(shared / "report")
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("planted", ["link", "second name", "FIFO"])
def test_what_is_planted_during_the_download_is_not_written_through(
    shared: Path, precious: Path, planted: str
) -> None:
    target = look_at(shared / "report", overwrite=True)
    with open_part(target.real.parent, ".id.part", whole=False) as part:
        part.file.write(b"downloaded")
        if planted == "link":
            target.real.symlink_to(precious)
        elif planted == "second name":
            target.real.hardlink_to(precious)
        else:
            os.mkfifo(target.real)
        with pytest.raises((FileExistsError, PermissionError)):
            put_in_place(part, target)
    assert precious.read_text() == "precious"


def test_a_folder_that_is_exchanged_for_a_link_during_the_download_leads_nowhere(
    shared: Path, tmp_path: Path
) -> None:
    (shared / "out").mkdir()
    target = look_at(shared / "out" / "report", overwrite=True)
    with open_part(target.real.parent, ".id.part", whole=False) as part:
        part.file.write(b"downloaded")
        (shared / "out").rename(shared / "moved")
        (shared / "out").symlink_to(tmp_path)
        put_in_place(part, target)
    assert list(tmp_path.iterdir()) == []
    assert (shared / "moved" / "report").read_bytes() == b"downloaded"
    assert [path.name for path in (shared / "moved").iterdir()] == ["report"]

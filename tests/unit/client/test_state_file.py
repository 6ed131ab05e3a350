"""What a client leaves for the next process."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import pytest

from artstore_client.uploads.state_file import (
    UploadKey,
    UploadTicket,
    default_folder,
    open_state,
    sweep,
)
from tests.support.strangers import STRANGER, as_root, as_stranger, shared_folder

KEY = UploadKey("/data/big.iso", mtime_ns=1, size_bytes=2, mesh_id="m", header=b"h")
TICKET = UploadTicket("request", "se-01.x", "secret", "se-01", "host:1", 65536)


def test_saved_ticket_is_read_by_the_next_process(tmp_path: Path) -> None:
    first = open_state(tmp_path, KEY)
    assert first is not None
    assert first.read() is None
    first.save(TICKET)
    first.close()
    second = open_state(tmp_path, KEY)
    assert second is not None
    assert second.read() == TICKET
    second.close()


def test_file_and_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    state = open_state(tmp_path / "a" / "b", KEY)
    assert state is not None
    (path,) = (tmp_path / "a" / "b").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    state.close()


def test_second_process_gets_nothing_while_the_first_has_it(tmp_path: Path) -> None:
    first = open_state(tmp_path, KEY)
    assert first is not None
    assert open_state(tmp_path, KEY) is None
    first.close()
    again = open_state(tmp_path, KEY)
    assert again is not None
    again.close()


def test_forgotten_upload_leaves_no_file(tmp_path: Path) -> None:
    state = open_state(tmp_path, KEY)
    assert state is not None
    state.save(TICKET)
    state.forget()
    state.close()
    state.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, path="/data/other.iso"),
        replace(KEY, mtime_ns=9),
        replace(KEY, size_bytes=9),
        replace(KEY, mesh_id="other"),
        replace(KEY, header=b"other"),
    ],
)
def test_another_file_mesh_or_description_is_another_upload(
    tmp_path: Path, other: UploadKey
) -> None:
    state = open_state(tmp_path, KEY)
    assert state is not None
    state.save(TICKET)
    other_state = open_state(tmp_path, other)
    assert other_state is not None
    assert other_state.read() is None
    other_state.close()
    state.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"saved_at": 1}', b"\xff\xfe"])
def test_damaged_file_is_read_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{KEY.file_name}.json").write_bytes(content)
    state = open_state(tmp_path, KEY)
    assert state is not None
    assert state.read() is None
    state.close()


def test_state_older_than_the_server_keeps_uploads_is_nothing_and_is_swept(
    tmp_path: Path,
) -> None:
    now = [1_000_000.0]
    state = open_state(tmp_path, KEY, clock=lambda: now[0])
    assert state is not None
    state.save(TICKET)
    now[0] += 7 * 24 * 3600 + 1
    assert state.read() is None
    state.close()
    path = tmp_path / f"{KEY.file_name}.json"
    sweep(tmp_path, clock=lambda: path.stat().st_mtime + 60)
    assert path.exists()
    sweep(tmp_path, clock=lambda: path.stat().st_mtime + 7 * 24 * 3600 + 60)
    assert not path.exists()


def test_folder_that_cannot_be_made_only_costs_the_resuming(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert open_state(tmp_path / "file" / "folder", KEY) is None
    sweep(tmp_path / "file" / "folder")


def test_account_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> NoReturn:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert open_state(default_folder(), KEY) is None


@pytest.fixture
def shared() -> Iterator[Path]:
    """A cache folder that everybody may write to, as XDG_CACHE_HOME=/tmp is."""
    with shared_folder() as folder:
        yield folder / "uploads"


@as_root
def test_folder_that_another_account_was_quicker_to_make_is_not_used(shared: Path) -> None:
    ticket = json.dumps(asdict(TICKET) | {"endpoint": "evil:1", "saved_at": time.time()})

    def plant() -> None:
        shared.mkdir()
        shared.chmod(0o777)
        (shared / f"{KEY.file_name}.json").write_text(ticket)
        (shared / f"{KEY.file_name}.json").chmod(0o666)

    as_stranger(plant)
    assert open_state(shared, KEY) is None
    sweep(shared, clock=lambda: time.time() + 30 * 24 * 3600)
    assert (shared / f"{KEY.file_name}.json").exists()


def test_folder_that_is_a_link_is_not_used(shared: Path, tmp_path: Path) -> None:
    shared.symlink_to(tmp_path)
    assert open_state(shared, KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_folder_of_ours_that_others_can_write_to_is_closed_to_them(shared: Path) -> None:
    shared.mkdir()
    shared.chmod(0o777)
    state = open_state(shared, KEY)
    assert state is not None
    state.close()
    assert shared.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["link", "hard link", "FIFO", "folder", "file"])
def test_what_others_planted_as_a_state_file_is_neither_read_nor_written(
    shared: Path, tmp_path: Path, planted: str
) -> None:
    shared.mkdir()
    path, precious = shared / f"{KEY.file_name}.json", tmp_path / "precious"
    precious.write_text(json.dumps(asdict(TICKET) | {"saved_at": time.time()}))
    before = precious.read_text()
    match planted:
        case "link":
            path.symlink_to(precious)
        case "hard link":
            path.hardlink_to(precious)
        case "FIFO":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "file":
            path.write_text(before)
            path.chmod(0o602)
    assert open_state(shared, KEY) is None
    assert precious.read_text() == before


@as_root
def test_state_file_of_another_account_is_not_read(shared: Path) -> None:
    shared.mkdir(mode=0o700)
    path = shared / f"{KEY.file_name}.json"
    path.write_text(json.dumps(asdict(TICKET) | {"saved_at": time.time()}))
    os.chown(path, STRANGER, STRANGER)
    assert open_state(shared, KEY) is None

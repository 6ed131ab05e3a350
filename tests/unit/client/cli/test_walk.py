"""What `artstore put -r` leaves out, and what it can't look at."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from artstore_client.cli.walk import Item, LeftOut, items_of
from artstore_client.uploads.sources import open_source


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    top = tmp_path / "top"
    top.mkdir()
    (top / "a.txt").write_text("a")
    yield top
    # Deeper than Python's own removal of folders goes.
    subprocess.run(["rm", "-rf", "top"], cwd=tmp_path, check=True)


def walked(top: Path, *, follow_links: bool = False) -> tuple[list[str], dict[str, str], list[str]]:
    """Paths that are taken, those left out with the reason, and errors."""
    found = list(items_of(str(top), recursive=True, follow_links=follow_links))
    return (
        [item.relative for item in found if isinstance(item, Item)],
        {item.path: item.reason for item in found if isinstance(item, LeftOut)},
        [str(item) for item in found if isinstance(item, OSError)],
    )


def test_link_to_a_file_is_the_file(top: Path) -> None:
    (top / "b.txt").symlink_to("a.txt")
    assert walked(top) == (["top/a.txt", "top/b.txt"], {}, [])


def test_link_out_of_the_folder_is_left_out_or_followed(top: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (top / "b").mkdir()
    for name, target in (("c", tmp_path / "secret"), ("d", "../../secret"), ("e", "d")):
        (top / "b" / name).symlink_to(target)
    taken, left_out, failed = walked(top)
    assert (taken, failed) == (["top/a.txt"], [])
    assert left_out.keys() == {"top/b/c", "top/b/d", "top/b/e"}
    assert "out of the folder; --follow-links" in left_out["top/b/e"]
    taken, left_out, _ = walked(top, follow_links=True)
    assert (taken, left_out) == (["top/a.txt", "top/b/c", "top/b/d", "top/b/e"], {})


@pytest.mark.parametrize("exchanged", ["file", "folder", "FIFO"])
async def test_what_is_exchanged_for_a_link_after_it_was_found_is_not_read(
    top: Path, tmp_path: Path, exchanged: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("secret")
    (top / "b").mkdir()
    (top / "b" / "x").write_text("x")
    item = list(items_of(str(top), recursive=True))[1]
    assert isinstance(item, Item)
    assert item.source is not None
    source = await open_source(item.source)
    assert source.name == "x"
    source.close()
    if exchanged == "folder":
        (top / "b").rename(top / "was")
        (top / "b").symlink_to(tmp_path / "elsewhere")
    else:
        (top / "b" / "x").unlink()
        if exchanged == "FIFO":
            os.mkfifo(top / "b" / "x")
        else:
            (top / "b" / "x").symlink_to(tmp_path / "elsewhere" / "x")
    with pytest.raises(OSError):
        await open_source(item.source)


def test_link_to_a_file_keeps_its_own_name(top: Path) -> None:
    (top / "b.txt").symlink_to("a.txt")
    items = [item for item in items_of(str(top), recursive=True) if isinstance(item, Item)]
    assert [item.name for item in items] == ["a.txt", "b.txt"]
    assert [Path(item.source or "").name for item in items] == ["a.txt", "a.txt"]


def test_link_to_a_folder_is_left_out_or_followed(top: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("x")
    (top / "first").symlink_to("../elsewhere")
    (top / "second").symlink_to("../elsewhere")
    taken, left_out, failed = walked(top)
    assert (taken, failed) == (["top/a.txt"], [])
    assert left_out.keys() == {"top/first", "top/second"}
    assert "--follow-links" in left_out["top/first"]
    assert walked(top, follow_links=True) == (["top/a.txt", "top/first/x", "top/second/x"], {}, [])


def test_loop_of_folders_is_walked_once(top: Path) -> None:
    (top / "b").mkdir()
    (top / "b" / "c.txt").write_text("c")
    (top / "b" / "up").symlink_to("..")
    taken, left_out, failed = walked(top, follow_links=True)
    assert (taken, failed) == (["top/a.txt", "top/b/c.txt"], [])
    assert "loop" in left_out["top/b/up"]


def test_what_is_no_file_is_left_out_with_its_kind(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top)
    os.mkfifo("pipe")
    os.mknod("device", 0o20666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    Path("nowhere").symlink_to("nothing")
    taken, left_out, failed = walked(top)
    assert (taken, failed) == (["top/a.txt"], [])
    assert {
        path.removeprefix("top/"): reason.split(",")[0] for path, reason in left_out.items()
    } == {
        "pipe": "a pipe",
        "device": "a device",
        "socket": "a socket",
        "nowhere": "a link that leads nowhere",
    }


def test_link_to_itself_is_an_error_of_its_own(top: Path) -> None:
    (top / "0").symlink_to("0")
    taken, left_out, (error,) = walked(top)
    assert (taken, left_out) == (["top/a.txt"], {})
    assert "symbolic links" in error
    assert "top/0" in error


@pytest.mark.parametrize("name", ["n" * 300, "a.txt/b", "nothing"])
def test_argument_that_is_no_entry_is_an_error_that_names_it(
    top: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top)
    (error,) = items_of(name, recursive=True)
    assert isinstance(error, OSError)
    assert error.filename == name


def test_path_that_grew_too_long_is_an_error_of_its_own(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top)
    (top / "z.txt").write_text("z")
    for _ in range(18):
        os.mkdir("d" * 250)  # noqa: PTH102 - the whole path is longer than one may be
        os.chdir("d" * 250)
    monkeypatch.chdir(top)
    taken, left_out, (error,) = walked(top)
    assert (taken, left_out) == (["top/a.txt", "top/z.txt"], {})
    assert "too long" in error


def test_folder_of_many_levels_is_walked_to_its_end(top: Path) -> None:
    deep = top
    for _ in range(1200):
        deep /= "d"
        deep.mkdir()
    (deep / "x").write_text("x")
    assert walked(top)[0][-1].endswith("/d/x")


def test_folder_that_is_gone_is_an_error(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    (top / "a.txt").unlink()
    top.rmdir()
    (error,) = items_of(".", recursive=True)
    assert isinstance(error, OSError)

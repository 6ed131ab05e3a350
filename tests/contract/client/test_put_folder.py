"""What the exit code and the last line of `artstore put -r` tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.client.fake_mesh import FakeMesh
from tests.contract.client.shell import Shell


@pytest.fixture
def shell(fake: FakeMesh, tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    (folder / "top" / "sub").mkdir(parents=True)
    (folder / "top" / "a").write_text("a")
    (folder / "top" / "sub" / "b").write_text("b")
    (folder / "top" / "dangling").symlink_to("nothing")
    (folder / "top" / "to_sub").symlink_to("sub")
    return Shell(fake, folder)


async def test_what_is_left_out_is_named_and_counted_and_no_failure(shell: Shell) -> None:
    put = await shell.run("put", "-r", "top")
    assert put.code == 0
    assert put.out.splitlines()[-1] == "2 of 2 files, 2 B, 2 left out"
    assert len(put.err.splitlines()) == 2
    assert "top/dangling: a link that leads nowhere" in put.err


async def test_links_to_folders_are_followed_when_told(fake: FakeMesh, shell: Shell) -> None:
    put = await shell.run("put", "-r", "--follow-links", "top")
    assert put.out.splitlines()[-1] == "3 of 3 files, 3 B, 1 left out"
    paths = {file.attributes["path"] for file, _ in fake.element.files.values()}
    assert paths == {"top/a", "top/sub/b", "top/to_sub/b"}


async def test_what_can_not_be_looked_at_fails_alone(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / "top" / "0").symlink_to("0")
    put = await shell.run("put", "-r", "top", "--json")
    assert put.code == 1
    assert len(put.documents) == 2
    assert "top/0: Too many levels of symbolic links" in put.err
    assert put.err.splitlines()[-1] == "artstore: 2 of 3 files, 2 B, 2 left out"


async def test_file_that_vanishes_is_left_out_and_the_others_are_stored(
    fake: FakeMesh, shell: Shell
) -> None:
    (shell.folder / "top" / "a").write_bytes(bytes(9 * 2**20))
    (shell.folder / "top" / "gone").write_text("x")
    fake.element.pause.clear()
    process = await shell.start("put", "-r", "top")
    await fake.element.until(lambda: "WriteUpload" in fake.element.calls)
    (shell.folder / "top" / "gone").unlink()
    fake.element.pause.set()
    out, err = await process.communicate()
    assert process.returncode == 0
    assert b"left out top/gone: it has gone meanwhile" in err
    assert out.splitlines()[-1] == b"2 of 2 files, 9.0 MiB, 3 left out"

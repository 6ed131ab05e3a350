"""The `artstore` command with odd streams, arguments, folders and disks: one line, no traceback."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from artstore.v1 import uploads_pb2
from tests.contract.client.fake_mesh import FakeMesh
from tests.contract.client.shell import COMMAND, Ended, Shell

MEBIBYTE = 2**20
BIG = os.urandom(6 * MEBIBYTE)
# Each row is a process; these are of a kind with one that always runs.
MORE = pytest.mark.full
MISSING = "0199aaaa-0000-7000-8000-000000000000"
NO_TEXT = os.fsdecode(b"no\xfftext\n")


@pytest.fixture
def shell(fake: FakeMesh, tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(fake, folder)


@pytest.fixture
def file_id(fake: FakeMesh) -> str:
    return fake.element.store(uploads_pb2.UploadHeader(original_filename="a.bin"), BIG).file_id


async def redirected(shell: Shell, redirection: str, *arguments: str) -> Ended:
    """Run the command with a redirection of the shell."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'exec "$@" {redirection}',
        "sh",
        *COMMAND,
        *arguments,
        cwd=shell.folder,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err
    return Ended(process.returncode or 0, out.decode(), err.decode())


@pytest.mark.parametrize(
    "arguments",
    [("ls",), pytest.param(("ls", "--json"), marks=MORE), ("get", "ID", "-o", "-")],
)
async def test_reader_that_has_gone_ends_it_quietly(
    shell: Shell, file_id: str, arguments: tuple[str, ...]
) -> None:
    named = [file_id if argument == "ID" else argument for argument in arguments]
    ended = await redirected(shell, "| true", *named)
    assert ended.err == ""


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        pytest.param(("token",), marks=MORE),
        pytest.param(("--help",), marks=MORE),
        ("get", "ID", "-o", "-"),
    ],
)
async def test_output_that_takes_nothing_is_one_line(
    shell: Shell, file_id: str, arguments: tuple[str, ...], redirection: str, reason: str
) -> None:
    named = [file_id if argument == "ID" else argument for argument in arguments]
    ended = await redirected(shell, redirection, *named)
    assert ended.err == f"artstore: standard output: {reason}\n"
    assert ended.code == 1


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
async def test_errors_that_can_not_be_told_change_no_exit_code(
    shell: Shell, redirection: str
) -> None:
    ended = await redirected(shell, redirection, "stat", MISSING)
    assert (ended.code, ended.out, ended.err) == (3, "", "")


async def test_input_that_is_closed_is_one_line(fake: FakeMesh, shell: Shell) -> None:
    ended = await redirected(shell, "<&-", "put", "-", "--name", "x")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert fake.element.files == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("put", "a", "--tag", NO_TEXT), 2),
        pytest.param(("put", "a", "--attr", f"k={NO_TEXT}"), 2, marks=MORE),
        pytest.param(("put", NO_TEXT), 1, marks=MORE),
        pytest.param(("get", NO_TEXT), 2, marks=MORE),
        (("get", "ID", "-o", f"{NO_TEXT}/{NO_TEXT}"), 1),
        (("stat", NO_TEXT), 2),
        pytest.param(("ls", "--namespace", NO_TEXT), 2, marks=MORE),
        pytest.param(("update", "ID", "--name", NO_TEXT), 2, marks=MORE),
        pytest.param(("rm", NO_TEXT), 2, marks=MORE),
        (("search", NO_TEXT), 2),
        pytest.param(("cache", "cancel", "se-01", NO_TEXT), 2, marks=MORE),
    ],
)
async def test_bytes_that_are_no_text_are_told_in_a_line(
    shell: Shell, file_id: str, arguments: tuple[str, ...], code: int
) -> None:
    (shell.folder / "a").write_text("x")
    named = [file_id if argument == "ID" else argument for argument in arguments]
    ended = await shell.run(*named)
    assert "Traceback" not in ended.err
    assert "fault" not in ended.err
    assert ended.err.startswith("artstore: ")
    assert (ended.code, ended.out) == (code, "")


async def test_file_of_a_name_that_is_no_text_comes_back(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / NO_TEXT).write_text("x")
    assert (await shell.run("put", NO_TEXT)).code == 0
    (file_id,) = fake.element.files
    assert (await shell.run("get", file_id, "-o", f"{NO_TEXT}2")).code == 0
    assert (shell.folder / f"{NO_TEXT}2").read_text() == "x"


async def test_working_folder_that_is_gone_stops_only_what_needs_it(
    fake: FakeMesh, shell: Shell, file_id: str, tmp_path: Path
) -> None:
    (tmp_path / "b").write_text("b")
    shell.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    gone = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'

    async def run(*arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", gone, "sh", *COMMAND, *arguments),
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    for refused in (("get", file_id), ("put", "-r", "."), ("put", "a")):
        ended = await run(*refused)
        assert ended.code == 1
        assert len(ended.err.splitlines()) == 1, ended.err
    stored = await run("put", str(tmp_path / "b"))
    assert (stored.code, stored.err) == (0, "")
    got = await run("get", file_id, "-o", f"{shell.folder}/")
    assert (got.code, got.err) == (0, "")


async def test_two_gets_of_one_file_into_one_folder_work(
    fake: FakeMesh, shell: Shell, file_id: str
) -> None:
    both = await asyncio.gather(shell.run("get", file_id), shell.run("get", file_id))
    assert [ended.code for ended in both] == [0, 0], [ended.err for ended in both]
    assert (shell.folder / "a.bin").read_bytes() == BIG
    assert [path.name for path in shell.folder.iterdir()] == ["a.bin"]


async def test_get_right_after_another_is_refused(shell: Shell, file_id: str) -> None:
    assert (await shell.run("get", file_id)).code == 0
    again = await shell.run("get", file_id)
    assert again.code == 1
    assert "--force" in again.err


async def test_get_to_another_name_of_standard_output_gives_the_bytes_alone(
    shell: Shell, file_id: str
) -> None:
    ended = await redirected(
        shell, "> out", "get", file_id, "--offset", "0", "--length", "9", "-o", "/dev/stdout"
    )
    assert (ended.code, ended.err) == (0, "")
    assert (shell.folder / "out").read_bytes() == BIG[:9]


@pytest.fixture
def small_disk(shell: Shell) -> Iterator[Path]:
    """A file system of 3 MiB."""
    disk = shell.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_full_disk_is_one_line_that_names_the_file_and_what_is_kept(
    shell: Shell, file_id: str, small_disk: Path
) -> None:
    target = small_disk / "got"
    whole = await shell.run("get", file_id, "-o", str(target))
    assert whole.code == 1
    (line,) = whole.err.splitlines()
    assert line.startswith(f"artstore: {target}: No space left on device")
    part = small_disk / f".{file_id}.part"
    assert f"are kept in {part}" in line
    part.unlink()
    ranged = await shell.run("get", file_id, "-o", str(target), "--offset", "1")
    assert ranged.code == 1
    assert str(target) in ranged.err
    assert os.listdir(small_disk) == []  # noqa: PTH208 - a path's own is asked for by a lint

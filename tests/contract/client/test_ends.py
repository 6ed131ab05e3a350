"""The `artstore` command when it is stopped: at once, with a line that says how to go on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from artstore.v1 import uploads_pb2
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault
from tests.contract.client.shell import COMMAND, Ended, Shell
from tests.support.waiting import until

MEBIBYTE = 2**20
BIG = os.urandom(10 * MEBIBYTE)
# On a busy machine; what hangs is ended after 1.5 s.
AT_ONCE_SECONDS = 4.0


@pytest.fixture
def shell(fake: FakeMesh, tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(fake, folder)


async def stopped(
    process: asyncio.subprocess.Process,
    number: int = signal.SIGINT,
    within: float = AT_ONCE_SECONDS,
) -> Ended:
    """Send the signal; the command ends in time and with one line."""
    began = time.monotonic()
    process.send_signal(number)
    # Not `wait`, which first wants its pipes to be read to the end.
    await until(lambda: process.returncode is not None, 60)
    took = time.monotonic() - began
    out, err = await process.communicate()
    ended = Ended(process.returncode or 0, out.decode("utf-8", "replace"), err.decode())
    assert len(ended.err.splitlines()) == 1, ended.err
    assert took < AT_ONCE_SECONDS
    return ended


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
    ],
)
async def test_large_put_says_what_was_sent_and_that_it_goes_on(
    fake: FakeMesh, shell: Shell, number: int, code: int, word: str
) -> None:
    (shell.folder / "big.iso").write_bytes(BIG)
    fake.element.write_faults = [Fault(3 * MEBIBYTE, None)]
    process = await shell.start("put", "big.iso")
    await fake.element.until(lambda: fake.element.bytes_received >= 3 * MEBIBYTE)
    ended = await stopped(process, number)
    assert ended.code == code
    assert word in ended.err
    assert "big.iso" in ended.err
    assert "goes on from there" in ended.err
    again = await shell.run("put", "big.iso")
    assert "resumed at" in again.out


@pytest.mark.parametrize("source", ["standard input", "fifo"])
async def test_put_ends_while_it_reads_what_never_comes(
    fake: FakeMesh, shell: Shell, source: str
) -> None:
    os.mkfifo(shell.folder / "fifo")
    if source == "fifo":
        process = await shell.start("put", "fifo")
        writing = await asyncio.to_thread(os.open, shell.folder / "fifo", os.O_WRONLY)
    else:
        process = await shell.start("put", "-", "--name", "piped")
        writing = -1
    await fake.element.until(lambda: bool(fake.ingest.headers))
    ended = await stopped(process)
    if writing >= 0:
        os.close(writing)
    assert ended.code == 130
    assert "nothing of" in ended.err
    assert fake.element.files == {}


async def test_put_ends_while_it_waits_for_the_commit(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / "big.iso").write_bytes(BIG)
    waits = asyncio.Event()
    commit: Any = fake.element.CommitUpload

    async def never(request: Any, context: Any) -> Any:
        await commit(request, context)
        waits.set()
        return await asyncio.Event().wait()

    fake.element.CommitUpload = never  # type: ignore[method-assign]
    await fake.stop()
    await fake.restart()
    process = await shell.start("put", "big.iso")
    await waits.wait()
    ended = await stopped(process)
    assert ended.code == 130
    assert "the same put" in ended.err
    fake.element.CommitUpload = commit  # type: ignore[method-assign]
    assert (await shell.run("put", "big.iso")).code == 0
    assert len(fake.element.files) == 1


async def test_put_ends_while_it_waits_to_try_again(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / "small").write_bytes(b"x")
    fake.ingest.faults = [Fault(0, errors.Unavailable("down"), before_accepting=True)] * 99
    process = await shell.start("put", "small")
    await fake.element.until(lambda: len(fake.ingest.headers) >= 4)
    ended = await stopped(process)
    assert ended.code == 130
    assert "nothing of small is stored" in ended.err


async def test_put_of_a_folder_says_how_many_need_not_be_put_again(
    fake: FakeMesh, shell: Shell
) -> None:
    (shell.folder / "top").mkdir()
    (shell.folder / "top" / "1").write_text("1")
    os.mkfifo(shell.folder / "fifo")
    process = await shell.start("put", "-r", "top", "fifo")
    assert process.stdout is not None
    await process.stdout.readline()
    await asyncio.sleep(0.2)
    ended = await stopped(process)
    assert ended.code == 130
    assert "1 files were stored" in ended.err


async def test_get_says_where_its_part_is_and_goes_on_from_there(
    fake: FakeMesh, shell: Shell
) -> None:
    header = uploads_pb2.UploadHeader(original_filename="big.iso")
    file_id = fake.element.store(header, BIG).file_id
    fake.element.read_faults = [Fault(6 * MEBIBYTE, None)]
    process = await shell.start("get", file_id)
    part = shell.folder / f".{file_id}.part"
    await until(lambda: part.exists() and part.stat().st_size >= 2 * MEBIBYTE, 60)
    ended = await stopped(process)
    assert ended.code == 130
    assert part.name in ended.err
    assert (await shell.run("get", file_id)).code == 0
    assert fake.element.first_offsets[1] >= 2 * MEBIBYTE
    assert (shell.folder / "big.iso").read_bytes() == BIG


@pytest.mark.parametrize("target", [pytest.param("fifo", marks=pytest.mark.full), "read fifo", "-"])
async def test_get_ends_while_nobody_reads_what_it_writes(
    fake: FakeMesh, shell: Shell, target: str
) -> None:
    header = uploads_pb2.UploadHeader(original_filename="big.iso")
    file_id = fake.element.store(header, BIG).file_id
    os.mkfifo(shell.folder / "fifo")
    reading = -1
    if target == "read fifo":
        reading = os.open(shell.folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    process = await shell.start("get", file_id, "--force", "-o", "-" if target == "-" else "fifo")
    await until(lambda: "GetFile" in fake.element.calls, 60)
    await asyncio.sleep(0.3)
    ended = await stopped(process)
    assert ended.code == 130
    assert (shell.folder / "fifo").is_fifo()
    if reading >= 0:
        os.close(reading)


async def test_call_that_never_ends_is_ended_all_the_same(shell: Shell) -> None:
    hangs = (
        "import time, artstore_client.cli.interrupts as i\n"
        "async def work():\n"
        "    print(1, flush=True)\n"
        "    time.sleep(60)\n"
        "i.run(work())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        hangs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    assert (await stopped(process)).code == 130


async def test_file_that_is_rewritten_while_standard_input_reads_it_is_refused(
    fake: FakeMesh, shell: Shell
) -> None:
    path = shell.folder / "big.iso"
    path.write_bytes(BIG)
    fake.element.pause.clear()
    with path.open("rb") as source:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("put", "-", "--name", "big"),
            env=shell.environment,
            stdin=source,
            stderr=asyncio.subprocess.PIPE,
        )
        await fake.element.until(lambda: "WriteUpload" in fake.element.calls)
        path.write_bytes(bytes(len(BIG)))
        fake.element.pause.set()
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"changed while it was read" in err
    assert fake.element.files == {}


# Sends itself the signal when the module is looked for, or at the end of the interpreter.
SIGNALLED = """
import atexit, os, sys
moment, number = sys.argv.pop(1), int(sys.argv.pop(1))

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder())
if moment == "the end":
    atexit.register(os.kill, os.getpid(), number)
from artstore_client.cli import main
main()
"""


# nohup, under which the tests may run, has it ignored.
HEARING = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"


@pytest.mark.parametrize(
    ("moment", "number", "word"),
    [
        ("grpc", signal.SIGINT, "interrupted"),
        ("typer", signal.SIGTERM, "terminated"),
        ("artstore_client.cli.app", signal.SIGHUP, "hung up"),
        ("the end", signal.SIGINT, "interrupted"),
    ],
)
def test_command_that_is_still_starting_or_done_ends_quietly(
    moment: str, number: int, word: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEARING + SIGNALLED, moment, str(int(number)), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (128 + number, f"artstore: {word}\n")


def test_command_that_was_told_to_ignore_a_signal_goes_on() -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SIGNALLED
    done = subprocess.run(
        [sys.executable, "-c", ignoring, "grpc", str(int(signal.SIGINT)), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

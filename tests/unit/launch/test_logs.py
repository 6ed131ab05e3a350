"""Logs that have grown too long, while programs write them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from launch import logs
from mesh.concurrency.watched import cancel_and_wait
from tests.support.waiting import until

WRITES = """
import sys
for number in range(3):
    print(sys.stdin.readline().strip(), flush=True)
"""


async def test_a_log_is_put_aside_while_its_program_prints_and_what_follows_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(logs.shorten, "__defaults__", (1000,))
    log, aside = tmp_path / "valkey.log", tmp_path / "valkey.log.1"
    # It points out of the folder, where nothing of ours is written.
    elsewhere = tmp_path / "elsewhere"
    aside.symlink_to(elsewhere)
    task = logs.start_keeping_short(tmp_path)
    with log.open("ab") as output:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITES, stdin=asyncio.subprocess.PIPE, stdout=output
        )
    assert program.stdin is not None
    program.stdin.write(b"short\n" + b"x" * 2000 + b"\n")
    await until(lambda: aside.exists() and log.stat().st_size == 0)
    assert aside.read_text() == f"short\n{'x' * 2000}\n"
    program.stdin.write(b"after\n")
    assert await program.wait() == 0
    await cancel_and_wait(task)
    assert log.read_text() == "after\n"
    assert not elsewhere.exists()


async def test_a_folder_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(logs.shorten, "__defaults__", (0,))
    (tmp_path / "se-01.log").write_text("line")
    (tmp_path / "se-01.log.1").mkdir()
    task = logs.start_keeping_short(tmp_path)
    (tmp_path / "se-02.log").write_text("line")
    await until((tmp_path / "se-02.log.1").exists)
    assert not task.done()
    await cancel_and_wait(task)
    assert asyncio.all_tasks() == {asyncio.current_task()}

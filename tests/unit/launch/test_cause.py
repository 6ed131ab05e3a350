"""One line that says why a program does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.cause import cause_in, told_since

TRACEBACK = """{"event": "starting", "level": "info"}
Traceback (most recent call last):
  File "x.py", line 1, in <module>
ValueError: ARTSTORE_MODE='x' is no mode
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        (TRACEBACK, "ValueError: ARTSTORE_MODE='x' is no mode"),
        (
            '{"event": "cannot start", "level": "error", "exception": "Trace\\nOSError: full"}\n'
            '{"event": "stopped", "level": "info"}\n',
            "cannot start: OSError: full",
        ),
        ('{"event": "waiting for admin", "level": "info"}\n', "waiting for admin"),
        (
            "2026-01-01 LOG:  starting\nFATAL:  data directory has wrong ownership\n"
            "HINT:  The server must be started by the user that owns it.\n",
            "FATAL:  data directory has wrong ownership",
        ),
    ],
)
def test_cause_is_the_last_line_that_says_what_is_wrong(text: str, cause: str) -> None:
    assert cause_in(text) == cause


def test_long_line_is_cut() -> None:
    assert len(cause_in("x" * 5000)) == 400


def test_what_an_earlier_run_said_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("old\n")
    begins = log.stat().st_size
    with log.open("a") as file:
        file.write("new\n")
    assert told_since(log, begins) == "new\n"
    assert told_since(tmp_path / "none.log", 0) == ""

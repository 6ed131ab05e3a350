"""Log lines: JSON whatever is logged, no line lost at the end, errors counted."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from mesh.redaction import without_names, without_quotes
from mesh.server import logs
from mesh.server.log_outputs import LogFile, LogStream


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    path = tmp_path / "logs" / "server.log"
    logs.configure(server="se-01", level="info", path=path)
    yield path
    logs.flush()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(path: Path) -> list[dict[str, Any]]:
    logs.flush()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_line_is_json_with_time_level_and_server(log_file: Path) -> None:
    structlog.stdlib.get_logger("x").info("rebuilt", files=3)
    (line,) = lines(log_file)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "server": "se-01", "event": "rebuilt", "files": 3}


def test_levels_below_the_configured_one_are_left_out(log_file: Path) -> None:
    structlog.stdlib.get_logger("x").debug("nothing")
    assert lines(log_file) == []


def test_reserved_and_strange_keys_and_values_do_no_harm(log_file: Path) -> None:
    structlog.stdlib.get_logger("x").info(
        "odd",
        filename="a",
        level="b",
        timestamp="c",
        message="d",
        surrogate="\ud800",
        huge=2**80,
        raw=b"\xff",
        path=Path("/p"),
    )
    (line,) = lines(log_file)
    assert (line["filename"], line["level_"], line["timestamp_"]) == ("a", "b", "c")
    assert (line["level"], line["huge"], line["path"]) == ("info", 2**80, "/p")


def test_the_standard_library_lands_in_the_same_stream(log_file: Path) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("library").exception("broke %s", "it", extra={"filename_": "x"})
    (line,) = lines(log_file)
    assert (line["level"], line["logger"], line["event"]) == ("error", "library", "broke it")
    assert "ValueError: why" in line["exception"]


def test_an_exception_is_logged_in_full(log_file: Path) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        structlog.stdlib.get_logger("x").exception("failed")
    (line,) = lines(log_file)
    assert line["level"] == "error"
    assert "test_logs.py" in line["exception"]


def test_errors_are_counted(log_file: Path) -> None:
    def count(level: str) -> float:
        return logs.log_lines.labels(level)._value.get()  # type: ignore[no-any-return]

    errors, criticals = count("error"), count("critical")
    log = structlog.stdlib.get_logger("x")
    log.error("one")
    log.critical("two")
    log.warning("not counted")
    logging.getLogger("library").error("three")
    assert (count("error") - errors, count("critical") - criticals) == (2, 1)


def test_a_stuck_output_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING_LINES", 10)
    free = threading.Event()

    class Stuck(io.BytesIO):
        def write(self, data: Any) -> int:
            free.wait(10)
            return super().write(data)

    output = Stuck()
    writer = logs.LineWriter(LogStream(io.TextIOWrapper(output)))
    for number in range(1000):
        writer.put(b"%d" % number, now=True)
    free.set()
    writer.close()
    assert output.getvalue().endswith(b"999\n")


def test_lines_go_to_the_new_file_after_logrotate_has_moved_the_old_one(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("x")
    log.error("before")
    until(lambda: "before" in log_file.read_text())
    log_file.rename(log_file.with_suffix(".1"))
    log.error("after")
    until(log_file.exists)
    assert [line["event"] for line in lines(log_file)] == ["after"]
    assert "after" not in log_file.with_suffix(".1").read_text()


def test_lines_go_to_the_file_that_logrotate_has_made(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("x")
    log.error("before")
    until(lambda: "before" in log_file.read_text())
    log_file.rename(log_file.with_suffix(".1"))
    log_file.touch(mode=0o640)
    log.error("after")
    assert [line["event"] for line in lines(log_file)] == ["after"]
    assert log_file.stat().st_mode & 0o777 == 0o640


def test_nothing_is_lost_or_doubled_while_the_file_is_rotated(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("x")
    for number in range(2000):
        log.info("line", number=number)
        if number % 400 == 0:
            # The writer is made to be at it at this moment.
            log.error("rotated", number=-1)
            until(lambda: log_file.exists() and log_file.stat().st_size > 0)
            log_file.rename(log_file.with_name(f"server.log.{number}"))
    logs.flush()
    written = [
        json.loads(line)["number"]
        for path in log_file.parent.glob("server.log*")
        for line in path.read_bytes().splitlines()
    ]
    assert sorted(number for number in written if number >= 0) == list(range(2000))


def test_a_file_that_is_cut_to_nothing_is_written_from_its_start(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("x")
    log.error("before")
    until(lambda: "before" in log_file.read_text())
    os.truncate(log_file, 0)
    log.error("after")
    assert [line["event"] for line in lines(log_file)] == ["after"]


def test_it_goes_on_when_the_folder_was_away_and_counts_what_was_lost(log_file: Path) -> None:
    log = structlog.stdlib.get_logger("x")
    log.error("before")
    until(lambda: "before" in log_file.read_text())
    dropped = logs.dropped_lines._value.get()
    log_file.parent.rename(log_file.parent.with_name("moved"))
    log.error("lost")
    until(lambda: logs.dropped_lines._value.get() == dropped + 1)
    log_file.parent.mkdir()
    log.error("after")
    assert [line["event"] for line in lines(log_file)] == ["after"]


def test_a_full_disk_costs_lines_and_the_file_that_was_on_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.symlink_to("/dev/full")
    dropped = logs.dropped_lines._value.get()
    output = LogFile(path)
    full = output.stream
    assert full is not None
    writer = logs.LineWriter(output)
    writer.put(b"lost", now=True)
    until(lambda: logs.dropped_lines._value.get() == dropped + 1)
    path.unlink()
    writer.put(b"kept", now=True)
    writer.close()
    assert path.read_text() == "kept\n"
    assert full.closed


def test_a_file_that_has_grown_too_long_is_put_aside_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    writer = logs.LineWriter(LogFile(path, max_bytes=1000))
    for number in range(20):
        writer.put(b"%03d".ljust(100, b".") % number)
        writer.flush()
    # Moved away by somebody else meanwhile, it is made anew all the same.
    path.rename(tmp_path / "moved")
    writer.put(b"020")
    writer.close()
    files = [tmp_path / "server.log.2", tmp_path / "server.log.1", tmp_path / "moved", path]
    assert [line[:3] for file in files for line in file.read_text().splitlines()] == [
        f"{number:03d}" for number in range(21)
    ]
    assert all(file.stat().st_size <= 1100 for file in files)


def test_of_what_was_put_aside_the_oldest_goes(tmp_path: Path) -> None:
    writer = logs.LineWriter(LogFile(tmp_path / "server.log", max_bytes=10))
    for number in range(20):
        writer.put(b"%d" % number, now=True)
        writer.flush()
    writer.close()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"server.log", "server.log.1", "server.log.2", "server.log.3"}


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("whole\ncut o")
    writer = logs.LineWriter(LogFile(path))
    writer.put(b"next")
    writer.close()
    assert path.read_text().splitlines() == ["whole", "cut o", "next"]


def test_a_reader_that_is_gone_costs_the_lines_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    dropped = logs.dropped_lines._value.get()
    with os.fdopen(writing, "w") as stream:
        writer = logs.LineWriter(LogStream(stream))
        for number in range(3):
            writer.put(b"%d" % number, now=True)
        writer.close()
        assert logs.dropped_lines._value.get() == dropped + 3
        # What is left in its buffer has nowhere to go.
        with suppress(BrokenPipeError):
            stream.close()


def test_the_end_of_a_process_is_not_held_up_by_a_reader_that_does_not_read() -> None:
    program = (
        "import structlog; from mesh.server import logs; logs.configure(server='se-01');"
        "log = structlog.stdlib.get_logger('x');"
        "[log.error('x' * 100_000) for _ in range(20)]"
    )
    reading, writing = os.pipe()
    try:
        subprocess.run([sys.executable, "-c", program], check=True, stderr=writing, timeout=10)
    finally:
        os.close(reading)
        os.close(writing)


def test_lines_on_standard_error_are_utf_8_whatever_the_terminal_speaks() -> None:
    program = (
        "import structlog; from mesh.server import logs; logs.configure(server='se-01');"
        "structlog.stdlib.get_logger('x').info('Ärger')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert json.loads(done.stderr)["event"] == "Ärger"


def until(there: Callable[[], bool]) -> None:
    """Wait until the thread that writes is so far."""
    end = time.monotonic() + 10
    while not there():
        assert time.monotonic() < end
        time.sleep(0.001)


STORED = "2026/01/02/03/my secrets_alice_20260102T030405_01923456-89ab-7cde-8f01-23456789abcd"
ID = STORED[-36:]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            f"reading {STORED}. My secrets, s.: the bytes are gone: why",
            f"reading 2026/01/02/03/{ID}: the bytes are gone: why",
        ),
        (
            f"[Errno 5] EIO: '/data/{STORED}.a b.attr.json'",
            f"[Errno 5] EIO: '/data/2026/01/02/03/{ID}'",
        ),
        (
            f'no answer of "http://s3/b/{STORED}.{"%D0%B0" * 9}?x-id=GetObject": why',
            f'no answer of "http://s3/b/2026/01/02/03/{ID}": why',
        ),
        (f"{STORED}.txt, {STORED.upper()}", f"2026/01/02/03/{ID}, 2026/01/02/03/{ID.upper()}"),
        (STORED.rpartition("/")[2], ID),
        (f"file {ID} is deleted", f"file {ID} is deleted"),
    ],
)
def test_a_stored_file_is_named_by_its_id(log_file: Path, said: str, line: str) -> None:
    structlog.stdlib.get_logger("x").warning("read", reason=said)
    logging.getLogger("library").warning("%s", said)
    try:
        raise OSError(said)
    except OSError:
        structlog.stdlib.get_logger("x").exception("crashed")
    ours, theirs, crashed = lines(log_file)
    assert (ours["reason"], theirs["event"]) == (line, line)
    assert crashed["exception"].endswith(f"OSError: {line}")


def test_a_stored_file_is_named_by_its_id_in_lists_paths_and_errors_too(log_file: Path) -> None:
    structlog.stdlib.get_logger("x").warning(
        "read", paths=[STORED], found={"at": (STORED,)}, path=Path(STORED), error=OSError(5, STORED)
    )
    (line,) = lines(log_file)
    assert "secrets" not in json.dumps(line)
    assert line["paths"] == line["found"]["at"] == [f"2026/01/02/03/{ID}"]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("no file 'my secrets.pdf'", "no file '…'"),
        ("no file \"it's\"; look at the store's list", "no file '…'; look at the store's list"),
        ("no file " + repr("both ' and \""), "no file '…'"),
        (f"file '{ID}' was deleted", f"file '{ID}' was deleted"),
        ("the element's tables aren't there", "the element's tables aren't there"),
        ("no bytes b'my secrets'", "no bytes '…'"),
        ("cut off in 'my secr", "cut off in '…'"),
        ("cut off in 'my secr\\", "cut off in '…'"),
        (f"why: {'x' * 600}/secrets_alice{'x' * 600}", f"why: {'x' * 600}/"),
    ],
)
def test_what_a_message_quotes_of_a_call_is_left_out_unless_it_is_an_id(
    said: str, line: str
) -> None:
    assert without_quotes(said) == line


@pytest.mark.parametrize(
    "piece", ["\\'", "'", '"', "' \"", "\\", "'\\", "b'", "x'", " 'x\\'", "a_20260102T030405_"]
)
def test_a_message_is_as_fast_to_read_whatever_a_caller_has_put_into_it(piece: str) -> None:
    def seconds(length: int) -> float:
        text = f"no operation '{piece * (length // len(piece))}"
        began = time.process_time()
        for _ in range(20):
            without_quotes(text)
            without_names(text)
        return time.process_time() - began

    # Twenty-five seconds once; linear it is some milliseconds.
    assert seconds(65_536) < 2.0

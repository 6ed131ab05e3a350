"""Log lines: JSON whatever is logged, no line lost at the end, errors counted."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from mesh.server import logs


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
    writer = logs.LineWriter(output)
    for number in range(1000):
        writer.put(b"%d" % number, now=True)
    free.set()
    writer.close()
    assert output.getvalue().endswith(b"999\n")

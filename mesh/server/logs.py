"""Structured logs: one JSON object per line, written by a thread so that no call ever waits.

A file may be moved away at any time, as logrotate does, and is put aside when it has grown too
long: the next lines go to a new one.

Loggers come from `structlog.stdlib.get_logger(__name__)`; libraries that log through the
standard library end up in the same stream. Any keyword may be given: the names the line
itself uses are kept, and a caller's value of that name appears with `_` appended.

Lines name files by their ids. Paths in messages of errors end with what a user calls the file;
the id stands there instead.
"""

from __future__ import annotations

import atexit
import json
import logging
import sys
import threading
from collections import deque
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import structlog
from prometheus_client import Counter

from mesh.identity.caller import current_request_id
from mesh.redaction import redacted, without_names
from mesh.server.log_outputs import LogFile, LogStream

MAX_WAITING_LINES = 20_000
FLUSH_SECONDS = 0.05
RESERVED = ("timestamp", "level", "logger", "request_id", "server")

log_lines = Counter("artstore_log_lines_total", "Log lines of level ERROR and CRITICAL.", ["level"])
dropped_lines = Counter(
    "artstore_log_lines_dropped_total", "Log lines lost because the output did not take them."
)
for _level in ("error", "critical"):
    log_lines.labels(_level)

_LOUD = frozenset({"error", "critical"})
_server_name = ""


class LineWriter:
    """Writes lines from a thread of its own; the newest are kept when the output is stuck.

    Args:
        output: takes many lines as one record; see docs/decisions/0008-log-writer.md.
    """

    def __init__(self, output: LogFile | LogStream) -> None:
        self._output = output
        self._lines: deque[bytes] = deque()
        self._filled = threading.Event()
        self._wake = threading.Event()
        self._stopped = False
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes, *, now: bool = False) -> None:
        """Queue one line; `now` has it written without waiting for more to come."""
        if len(self._lines) >= MAX_WAITING_LINES:
            self._lines.popleft()
            dropped_lines.inc()
        self._lines.append(line)
        if not self._filled.is_set():
            self._filled.set()
        if now:
            self._wake.set()

    def flush(self) -> None:
        """Write what is queued, in the calling thread."""
        with self._writing:
            batch = []
            while self._lines:
                batch.append(self._lines.popleft())
            if batch:
                text = b"\n".join(batch).decode("utf-8", "replace")
                try:
                    self._output.emit(logging.makeLogRecord({"msg": text}))
                    if self._output.stream is not None:
                        self._output.stream.flush()
                except (OSError, ValueError):
                    dropped_lines.inc(len(batch))
                    self._output.let_go()

    def close(self) -> None:
        """Write the rest and end the thread; an output that is stuck is left alone."""
        self._stopped = True
        self._filled.set()
        self._wake.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._stopped:
            self._filled.wait()
            self._filled.clear()
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            self.flush()
        self.flush()


class _Sink:
    """Where loggers write: can be pointed elsewhere while loggers exist."""

    def __init__(self) -> None:
        self.writer: LineWriter | None = None

    def write(self, line: bytes, level: str) -> None:
        if level in _LOUD:
            log_lines.labels(level).inc()
        if self.writer is not None:
            self.writer.put(line, now=level in _LOUD)
        else:
            sys.stderr.buffer.write(line + b"\n")


_sink = _Sink()


class _LineLogger:
    """The innermost logger of structlog: takes rendered lines."""

    def msg(self, line: bytes, level: str) -> None:
        _sink.write(line, level)

    log = debug = info = warning = warn = error = exception = critical = fatal = failure = msg


def to_json(event: MutableMapping[str, Any]) -> bytes:
    """One JSON object; what JSON has no word for is shown by its str."""
    try:
        return orjson.dumps(event, default=_shown, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        # Lone surrogates and integers over 64 bits.
        return json.dumps(event, default=_shown, skipkeys=True).encode("utf-8", "replace")


def _shown(value: object) -> str:
    return without_names(str(value))


def _keep_reserved(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key in RESERVED:
        if key in event:
            event[key + "_"] = event.pop(key)
    return event


def _leave_names_out(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = redacted(value)
    return event


def _complete(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    level = "error" if method == "exception" else "warning" if method == "warn" else method
    line: dict[str, Any] = {"timestamp": _now(), "level": level}
    if _server_name:
        line["server"] = _server_name
    request_id = current_request_id.get()
    if request_id:
        line["request_id"] = request_id
    line.update(event)
    return line


def _render(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (to_json(event), event["level"]), {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _StandardHandler(logging.Handler):
    """Takes what libraries log through the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        line: dict[str, Any] = {
            "timestamp": _now(),
            "level": level,
            "server": _server_name,
            "logger": record.name,
        }
        try:
            line["event"] = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                line["exception"] = logging.Formatter().formatException(record.exc_info)
        except Exception:
            line["event"] = str(record.msg)
        _leave_names_out(None, level, line)
        _sink.write(to_json(line), level)


def configure(
    *, server: str, level: str = "info", path: Path | None = None, max_bytes: int = 0
) -> None:
    """Set up logging of the process; a second call replaces the first.

    Args:
        server: name in each line.
        level: debug, info, warning or error.
        path: file to append to, made anew when it was moved away; standard error if None.
        max_bytes: what that file may hold before it is put aside; 0: without end.
    """
    global _server_name  # noqa: PLW0603 - logging is global to the process by nature
    _server_name = server
    number = logging.getLevelName(level.upper())
    if path is None:
        # Not `sys.stderr`, whose encoding need not be that of JSON.
        stderr = open(sys.stderr.fileno(), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        output: LogFile | LogStream = LogStream(stderr)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        output = LogFile(path, max_bytes=max_bytes)
    if _sink.writer is not None:
        _sink.writer.close()
    _sink.writer = LineWriter(output)
    structlog.configure(
        processors=[
            _keep_reserved,
            structlog.processors.format_exc_info,
            _leave_names_out,
            _complete,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _LineLogger(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_StandardHandler()]
    root.setLevel(max(number, logging.INFO))
    for chatty in ("alembic", "botocore", "aiobotocore", "aioboto3", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def flush() -> None:
    """Write out what is waiting; called at exit."""
    if _sink.writer is not None:
        _sink.writer.close()
        _sink.writer = None


atexit.register(flush)

"""Notes the system calls by which a local store makes a write survive a power cut."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from storage_server.store import durable


class Recorder:
    """Notes the calls of `durable` with paths instead of descriptors, and lets them happen."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self._root = root
        for name in ("append", "fsync", "fdatasync", "truncate", "touch"):
            self._watch(monkeypatch, name, lambda fd, *_: self._path(fd))
        self._watch(monkeypatch, "make_folder", lambda name, fd: self._path(fd, name), "mkdir")
        self._watch(monkeypatch, "unlink", lambda name, fd: self._path(fd, name))
        self._watch(
            monkeypatch,
            "rename",
            lambda a, fd, b, other: f"{self._path(fd, a)} {self._path(other, b)}",
        )

    def _watch(
        self, monkeypatch: pytest.MonkeyPatch, name: str, describe: Any, label: str = ""
    ) -> None:
        real = getattr(durable, name)

        def watched(*args: Any) -> Any:
            self.calls.append(f"{label or name} {describe(*args)}")
            return real(*args)

        monkeypatch.setattr(durable, name, watched)

    def _path(self, fd: int, name: str = "") -> str:
        found = Path(f"/proc/self/fd/{fd}").readlink() / name
        return relative(str(found), self._root)

    def since(self, start: int) -> list[str]:
        return [call for call in self.calls[start:] if not call.endswith(" .staging")]


def relative(path: str, root: Path) -> str:
    return re.sub(r"\.new-[0-9a-f]+", "new", os.path.relpath(path, root))

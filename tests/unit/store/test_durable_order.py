"""The order of the system calls that make a write survive a power cut.

A kill proves nothing here: the page cache outlives the process. So the calls themselves are
recorded: as the store makes them, and as the kernel sees them where `strace` is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage_server.store import durable
from storage_server.store.local import LocalStore
from tests.contract.store.blobs import store_blob

FOLDER = "2026/11/24/03"
BLOB = f"{FOLDER}/blob"
SIDECAR = BLOB + ".attr.json"

UPLOAD = [
    "append .staging/key",
    "fsync .staging/key",
    "touch .staging/key",
    "mkdir 2026",
    "fsync .",
    "mkdir 2026/11",
    "fsync 2026",
    "mkdir 2026/11/24",
    "fsync 2026/11",
    f"mkdir {FOLDER}",
    "fsync 2026/11/24",
    f"rename .staging/key {BLOB}",
    f"fsync {FOLDER}",
]
COMMIT = [
    "append .staging/new",
    "fsync .staging/new",
    f"rename .staging/new {SIDECAR}",
    f"fsync {FOLDER}",
]


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


async def test_upload_is_on_the_disk_before_its_sidecar_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "storage_element_01"
    recorder = Recorder(root, monkeypatch)
    store = await LocalStore.open(root)
    await store_blob(store, b"content", BLOB, "key")
    assert recorder.since(0)[-len(UPLOAD) :] == UPLOAD
    done = len(recorder.calls)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    assert recorder.since(done) == COMMIT
    await store.close()


async def test_folder_made_by_a_process_that_died_is_forced_to_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    rename = recorder.calls.index(f"rename .staging/new {SIDECAR}")
    for folder in (".", "2026", "2026/11", "2026/11/24"):
        assert f"fsync {folder}" in recorder.calls[:rename]
    assert recorder.calls[rename + 1 :] == [f"fsync {FOLDER}"]
    await store.close()


async def test_checkpoint_has_bytes_and_entry_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    stage = await store.open_stage(BLOB, key="key")
    await stage.write(b"content")
    done = len(recorder.calls)
    await stage.checkpoint()
    assert recorder.calls[done:][-2:] == ["fdatasync .staging/key", "fsync .staging"]
    await store.close()


async def test_deletion_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    done = len(recorder.calls)
    await store.delete_sidecar(SIDECAR)
    assert recorder.calls[done:] == [f"unlink {SIDECAR}", f"fsync {FOLDER}"]
    await store.close()


async def test_element_file_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    await store.write_element(b"{}")
    assert recorder.since(0)[-4:] == [
        "append .staging/new",
        "fsync .staging/new",
        "rename .staging/new element.json",
        "fsync .",
    ]
    await store.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from storage_server.store.local import LocalStore

async def write(root):
    store = await LocalStore.open(Path(root))
    stage = await store.open_stage("2026/11/24/03/blob", key="key")
    await stage.write(b"content")
    await stage.seal()
    await stage.place()
    await stage.close()
    await store.write_sidecar("2026/11/24/03/blob.attr.json", b"{}", expected=None)
    await store.close()

asyncio.run(write(sys.argv[1]))
"""
_CALLS = {
    "pwritev": "append",
    "pwritev2": "append",
    "fsync": "fsync",
    "utimensat": "touch",
    "mkdirat": "mkdir",
    "renameat": "rename",
    "renameat2": "rename",
}


def kernel_calls(trace: str, root: Path) -> list[str]:
    """The calls of `strace -f -y`, written as `Recorder` writes them."""
    calls: list[str] = []
    for line in trace.splitlines():
        found = re.search(r"(\w+)\((.*)\) += 0|(pwritev2?)\((.*)", line)
        name = found and (found[1] or found[3])
        if not found or name not in _CALLS:
            continue
        arguments = found[2] or found[4]
        places = re.findall(r'(?:\d+|AT_FDCWD)<([^>]*)>(?:, "([^"]*)")?', arguments)
        paths = [relative(str(Path(folder) / entry), root) for folder, entry in places]
        calls.append(f"{_CALLS[name]} {' '.join(paths)}")
    return calls


def test_kernel_sees_the_same_order(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or not _may_trace(strace):
        return
    root = tmp_path / "storage_element_01"
    log = tmp_path / "trace"
    subprocess.run(
        [
            strace, "-f", "-y", "-e", "trace=" + ",".join(_CALLS), "-o", str(log),
            sys.executable, "-c", WRITER, str(root),
        ],
        check=True,
        cwd=Path(__file__).parents[3],
        timeout=60,
    )  # fmt: skip
    calls = kernel_calls(log.read_text(), root)
    expected = iter(calls)
    missing = [call for call in [*UPLOAD, *COMMIT] if call not in expected]
    assert not missing, calls


def _may_trace(strace: str) -> bool:
    return subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode == 0

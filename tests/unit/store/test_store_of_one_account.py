"""What a store on a disk makes is for its own account, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage_server.store.local import LocalStore
from tests.support.blobs import BLOB, store_blob


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Of a shell that lets everybody do everything."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
async def test_nobody_else_reads_what_is_stored_or_enters_a_store_that_was_open(
    tmp_path: Path,
) -> None:
    root = tmp_path / "element"
    root.mkdir(mode=0o755)
    store = await LocalStore.open(root)
    await store_blob(store, b"bytes")
    await store.write_element(b"{}")
    await store.write_sidecar(BLOB + ".attr.json", b"{}", expected=None)
    await store.set_aside("aside", b"{}")
    await store.acquire_writer()
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}
    await store.close()
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}

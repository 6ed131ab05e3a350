"""Resumable uploads as the tests of them make, write and end them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import google_crc32c
import pytest

from mesh.errors import (
    Unavailable,
)
from storage_server.domain.origin import Origin
from storage_server.store.port import SIDECAR_SUFFIX
from storage_server.uploads.resumable_uploads import StartedUpload
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView
from tests.support.memory_element import ALICE, MemoryElement, a_header
from tests.support.origins import BY_ALICE

SILENT = Unavailable("the store is silent", reason="STORAGE_DOWN")
LOST = Unavailable("gone")


async def start(element: MemoryElement, **header: Any) -> StartedUpload:
    return await element.intake.start(a_header(**header), ALICE)


async def write(element: MemoryElement, opened: StartedUpload, data: bytes, offset: int = 0) -> int:
    """One stream with one chunk; answers what is on record then."""
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    try:
        await upload.write(writer, offset, data, google_crc32c.value(data))
    finally:
        size = await upload.end(writer)
    return size


async def progress(element: MemoryElement, opened: StartedUpload) -> int:
    size, _ = await element.resumable.progress(opened.upload_id, opened.token, ALICE)
    return size


async def commit(
    element: MemoryElement,
    opened: StartedUpload,
    size: int | None = None,
    sha256: str | None = None,
    *,
    by: Origin = BY_ALICE,
) -> FileView:
    return await element.resumable.commit(
        opened.upload_id, opened.token, ALICE, size, sha256, by=by
    )


async def abort(element: MemoryElement, opened: StartedUpload) -> None:
    await element.resumable.abort(opened.upload_id, opened.token, ALICE)


def leaves_nothing(element: MemoryElement) -> bool:
    return (
        element.paths() == set()
        and element.tables.uploads == {}
        and element.tables.intents == {}
        and element.space.reserved_bytes == 0
    )


def blobs(element: MemoryElement) -> list[bytes]:
    return [
        content
        for path, (content, _) in element.memory.files.items()
        if path[0].isdigit() and not path.endswith(".attr.json")
    ]


async def late_sidecar(
    element: MemoryElement, opened: StartedUpload, *, by: Origin = BY_ALICE
) -> Callable[[], None]:
    """Commit to a store that has the sidecar, but writes it only when the answer is called."""
    element.calls.fail("read_sidecar", SILENT)
    element.calls.lose_answer("write_sidecar", SILENT)
    with pytest.raises(SidecarUncertain):
        await commit(element, opened, by=by)
    element.calls.mend()
    (path,) = [one for one in element.memory.files if one.endswith(SIDECAR_SUFFIX)]
    sent = element.memory.files.pop(path)
    return lambda: element.memory.files.update({path: sent})

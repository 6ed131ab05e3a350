"""A download that breaks off goes on, also when nobody can say where else the file is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from artstore.v1 import downloads_pb2, types_pb2
from artstore_client import errors
from artstore_client.downloads import downloads


def a_download(monkeypatch: pytest.MonkeyPatch, elsewhere: errors.ArtStoreError) -> Any:
    """One whose first stream breaks off, while a look elsewhere meets that error."""
    streams: Iterator[Any] = iter([errors.Unavailable("it broke off"), b"bytes"])
    looks = iter(["found"])
    file = types_pb2.File(file_id="f-1", size_bytes=5)

    async def find(*_: object) -> tuple[str, types_pb2.File]:
        if next(looks, "") == "found":
            return "se-01", file
        raise elsewhere

    async def stream(*_: object, **__: object) -> AsyncGenerator[Any, None]:
        told = next(streams)
        if isinstance(told, errors.ArtStoreError):
            raise told
        yield downloads_pb2.DownloadResponse(chunk=types_pb2.Chunk(data=told))

    async def storage(_: str) -> Any:
        return SimpleNamespace(Download=None)

    async def unanswered(_: str) -> None:
        return None

    patience = SimpleNamespace(note=lambda _: None, begin=lambda: None, next_delay=lambda _: 0.0)
    calls = SimpleNamespace(patience=lambda: patience, stream=stream)
    connection: Any = SimpleNamespace(calls=calls, storage=storage, unanswered=unanswered)
    monkeypatch.setattr(downloads, "find_file", find)
    return downloads.Download(connection, "f-1", length=5)


@pytest.mark.parametrize(
    "error", [errors.Unavailable("silent"), errors.Internal("a bug"), errors.Unauthenticated("old")]
)
async def test_what_a_look_elsewhere_meets_ends_no_download(
    monkeypatch: pytest.MonkeyPatch, error: errors.ArtStoreError
) -> None:
    download = a_download(monkeypatch, error)
    await download.open()
    assert b"".join([block async for block in download._received()]) == b"bytes"


async def test_a_file_that_is_no_more_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    download = a_download(monkeypatch, errors.NotFound("deleted"))
    await download.open()
    with pytest.raises(errors.NotFound):
        [block async for block in download._received()]

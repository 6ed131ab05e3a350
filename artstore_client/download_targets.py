"""Where a download is written: a path, by way of a `.part` file, or a file object."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from artstore_client import errors
from artstore_client.behind import Behind
from artstore_client.downloads import Download
from artstore_client.results import DownloadedFile

_READ_BYTES = 4 * 1024 * 1024


async def to_file_object(download: Download, target: BinaryIO) -> DownloadedFile:
    """Write what `download` gives to `target`, from where it stands."""
    await download.open()
    start = download.position
    await _drain(download, lambda batch: _write_all(target, batch))
    return DownloadedFile(
        download.file, download.position - start, path=None, verified=download.verifiable
    )


async def to_path(download: Download, target: Path) -> DownloadedFile:
    """Write what `download` gives to a file beside `target`, and rename it when it is whole.

    A whole file that broke off in an earlier process goes on where that one ended.

    Raises:
        Aborted: another process downloads the same file to the same folder.
        OSError: the folder or file can't be written.
    """
    file = await download.open()
    part = _part_of(download, target)
    loop = asyncio.get_running_loop()
    with _locked(part) as out:
        taken_up = 0
        if download.whole:
            taken_up = await loop.run_in_executor(None, _take_up, download, out)
        else:
            out.truncate(0)
        start = download.position
        try:
            try:
                await _drain(download, lambda batch: _write_all(out, batch))
            except errors.DataLoss:
                if not taken_up:
                    raise
                # More likely the part, which no fsync had saved, than the store.
                out.truncate(0)
                download.start_over()
                start = download.position
                await _drain(download, lambda batch: _write_all(out, batch))
        except errors.DataLoss:
            part.unlink(missing_ok=True)
            raise
        finally:
            if not download.whole and download.position < download.end:
                part.unlink(missing_ok=True)
        await loop.run_in_executor(None, os.fsync, out.fileno())
        part.replace(target)
    return DownloadedFile(
        file, download.position - start, path=target, verified=download.verifiable
    )


async def _drain(download: Download, write: Callable[[list[bytes]], None]) -> None:
    """Write everything, a batch behind what arrives; also what had arrived before a break."""
    writing = Behind(write)
    try:
        async with aclosing(download.blocks()) as blocks:
            async for block in blocks:
                await writing.put(block)
    except errors.ArtStoreError:
        with suppress(OSError):
            await writing.finish()
        raise
    finally:
        await writing.leave()
    await writing.finish()


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    while True:
        with part.open("a+b", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise errors.Aborted(f"another process is writing {part}") from None
            # Its last owner may have renamed it between our open and our lock.
            if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                yield file
                return


def _take_up(download: Download, file: BinaryIO) -> int:
    """Hash what an earlier process wrote, and go on behind it; answers its size."""
    if os.fstat(file.fileno()).st_size > download.end:
        file.truncate(0)
    file.seek(0)
    while block := file.read(_READ_BYTES):
        download.digest.update(download.position, block)
        download.position += len(block)
    return download.position


def _part_of(download: Download, target: Path) -> Path:
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: name a file in it")
    # Named by the id: short enough everywhere, and never taken for a part of another file.
    wanted = "" if download.whole else f".{download.position}-{download.end}"
    return target.parent / f".{download.file.file_id}{wanted}.part"


def _write_all(file: BinaryIO, batch: list[bytes]) -> None:
    for block in batch:
        left: bytes | memoryview = block
        while left:
            written = file.write(left)
            # Only raw files take less than they were given; other objects may answer nothing.
            left = memoryview(left)[len(left) if written is None else written :]

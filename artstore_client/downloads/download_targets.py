"""Where a download is written: a path, by way of a `.part` file, or a file object."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import select
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import BinaryIO

from artstore_client import errors
from artstore_client.downloads import placing
from artstore_client.downloads.behind import Behind
from artstore_client.downloads.downloads import Download
from artstore_client.downloads.part_files import Part, open_part, part_name
from artstore_client.local.lone_thread import LoneThread
from artstore_client.local.open_files import may_block, plain_file
from artstore_client.results import DownloadedFile

_READ_BYTES = 4 * 1024 * 1024


async def to_file_object(download: Download, target: BinaryIO) -> DownloadedFile:
    """Write what `download` gives to `target`, from where it stands."""
    await download.open()
    start = download.position
    plain = plain_file(target)
    thread = LoneThread() if plain is not None and may_block(plain) else None
    if plain is not None and thread is not None:
        # Not through the buffer: its lock, held while nobody reads, would hold up the interpreter.
        target.flush()
        target = plain
    try:
        await _drain(download, lambda batch: _write_all(target, batch), thread)
    finally:
        if thread is not None:
            thread.close()
    return DownloadedFile(
        download.file, download.position - start, path=None, verified=download.verifiable
    )


async def to_path(download: Download, given: Path, *, overwrite: bool) -> DownloadedFile:
    """Write what `download` gives to what `given` names; links are followed.

    A file is written beside its place, and put there when it is whole. A whole file that broke
    off in an earlier process goes on where that one ended. A device, FIFO or open descriptor is
    written to.

    Raises:
        FileExistsError: something is there, and `overwrite` is not set; nothing was asked for.
        OSError: the folder or file can't be written; the error names `given`.
    """
    target = placing.look_at(given, overwrite=overwrite)
    if target.is_file:
        return await _to_file(download, target)
    return await _to_what_is_there(download, target)


async def _to_what_is_there(download: Download, target: placing.Target) -> DownloadedFile:
    await download.open()
    thread = LoneThread()
    try:
        out = await thread.call(lambda: placing.open_as_it_is(target))
        with out:
            start = download.position
            await _drain(download, lambda batch: _write_all(out, batch), thread)
    except OSError as error:
        text = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, text, str(target.given)) from error
    finally:
        thread.close()
    return DownloadedFile(
        download.file,
        download.position - start,
        path=target.given,
        verified=download.verifiable,
    )


async def _to_file(download: Download, target: placing.Target) -> DownloadedFile:
    file = await download.open()
    wanted = "" if download.whole else f".{download.position}-{download.end}"
    name = part_name(file.file_id, wanted)
    kept = ""
    try:
        with open_part(target.real.parent, name, whole=download.whole) as part:
            if target.existing is not None:
                # Until it has the mode of what it replaces, nobody else may read it.
                os.fchmod(part.file.fileno(), 0o600)
            try:
                start = await _fill(download, part)
                await asyncio.get_running_loop().run_in_executor(
                    None, placing.put_in_place, part, target
                )
            except OSError:
                kept = _what_is_kept(part)
                raise
    except OSError as error:
        text = (error.strerror or str(error)) + kept
        raise OSError(error.errno or errno.EIO, text, str(target.given)) from error
    return DownloadedFile(
        file, download.position - start, path=target.given, verified=download.verifiable
    )


def _what_is_kept(part: Part) -> str:
    size = part.size_bytes
    if not part.kept or size == 0:
        return ""
    again = "; the next download of it goes on from there" if part.resumable else ""
    return f" ({size} bytes are kept in {part.path}{again})"


async def _fill(download: Download, part: Part) -> int:
    """Bring the part to its last byte; answers the offset of the first one that was received."""
    out, taken_up = part.file, 0
    if download.whole:
        loop = asyncio.get_running_loop()
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
        part.kept = False
        raise
    return start


async def _drain(
    download: Download,
    write: Callable[[list[bytes | memoryview]], None],
    thread: LoneThread | None = None,
) -> None:
    """Write everything, a batch behind what arrives; also what had arrived before a break."""
    writing = Behind(write, thread=thread)
    try:
        async with aclosing(download.blocks()) as blocks:
            async for block in blocks:
                await writing.put(block)
        await writing.finish()
    except errors.ArtStoreError:
        with suppress(OSError):
            await writing.finish()
        raise
    finally:
        # What is still written then is given up.
        await writing.leave()


def _take_up(download: Download, file: BinaryIO) -> int:
    """Hash what an earlier process wrote, and go on behind it; answers its size."""
    if os.fstat(file.fileno()).st_size > download.end:
        file.truncate(0)
    file.seek(0)
    while block := file.read(_READ_BYTES):
        download.digest.update(download.position, block)
        download.position += len(block)
    return download.position


def _write_all(file: BinaryIO, batch: list[bytes | memoryview]) -> None:
    for block in batch:
        # An object of the caller's may do with bytes what a view does not do.
        left = block if isinstance(file, io.IOBase) else bytes(block)
        while left:
            written = file.write(left)
            if written is None and isinstance(file, io.RawIOBase):
                # One that others made non-blocking, and that is full.
                select.select([], [file], [])
                continue
            # Only raw files take less than they were given; other objects may answer nothing.
            left = memoryview(left)[len(left) if written is None else written :]

"""Listing a bucket: pages are parsed and grouped by folder in a thread.

The next page is asked for before the last one is parsed. A listing that is cut off, out of
order or not understood ends with an error, never with less.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import Unavailable
from storage_server.domain.naming import is_sidecar_name
from storage_server.store.port import (
    UNREADABLE_SIZE,
    Identity,
    ListedFolder,
    ListedSidecar,
)
from storage_server.store.s3_client import S3Client
from storage_server.store.threads import Threads

_TOKEN = re.compile(rb"<NextContinuationToken>([^<]*)</NextContinuationToken>")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>", re.IGNORECASE)
_FOLDER_LENGTH = len("YYYY/MM/DD/HH")
_FOLDER = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{2}/")


class Entry(NamedTuple):
    """An object: its key without the element's prefix, size in bytes, etag without quotes."""

    path: str
    size: int
    etag: str


async def pages(
    client: S3Client, threads: Threads, prefix: str, below: str = "", *, patient: bool = True
) -> AsyncGenerator[Sequence[Entry], None]:
    """All objects whose key begins with `prefix + below`, a page at a time, in order.

    Raises:
        Unavailable: the listing cannot be completed.
    """
    token = ""
    ahead: asyncio.Task[bytes] | None = asyncio.create_task(
        client.list_page(prefix + below, "", patient=patient)
    )
    try:
        while ahead is not None:
            xml, ahead = await ahead, None
            token = _next_token(xml, token)
            if token:
                ahead = asyncio.create_task(
                    client.list_page(prefix + below, token, patient=patient)
                )
            yield await threads.run("a page of a listing", parse_page, xml, len(prefix))
    finally:
        await cancel_and_wait(ahead)


async def in_other_case(client: S3Client, threads: Threads, prefix: str, name: str) -> str | None:
    """The path of what is called `name` but for its case, and begins with a capital."""
    async with aclosing(pages(client, threads, prefix, name[0].upper())) as found:
        async for page in found:
            for entry in page:
                if entry.path.lower() == name:
                    return entry.path
    return None


def _next_token(xml: bytes, last: str) -> str:
    found = _TOKEN.search(xml)
    if _TRUNCATED.search(xml) is None:
        return ""
    token = unescape(found[1].decode(), {"&quot;": '"', "&apos;": "'"}) if found else ""
    if not token or token == last:
        raise Unavailable("S3 cut a listing off without saying how to go on")
    return token


def parse_page(xml: bytes, skip: int) -> Sequence[Entry]:
    """The objects of a ListObjectsV2 answer, without the first `skip` characters of each key.

    Raises:
        Unavailable: it is not such an answer.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as exc:
        raise Unavailable(f"S3 answered a listing that is no XML: {exc}") from exc
    space = root.tag.rpartition("}")[0]
    space = space + "}" if space else ""
    if root.tag != space + "ListBucketResult":
        raise Unavailable(f"S3 answered {root.tag.removeprefix(space)} instead of a listing")
    encoded = (root.findtext(space + "EncodingType") or "").lower() == "url"
    key, size, etag = space + "Key", space + "Size", space + "ETag"
    entries = []
    for node in root.iterfind(space + "Contents"):
        values = {child.tag: child.text for child in node}
        name = values[key] or ""
        if encoded:
            name = unquote_plus(name)
        entries.append(
            Entry(name[skip:], int(values[size] or 0), (values.get(etag) or "").strip('"'))
        )
    return entries


class Grouping:
    """Gathers the entries of a listing into folders `YYYY/MM/DD/HH`. Runs in a thread."""

    def __init__(self) -> None:
        self._path = ""
        self._sidecars: dict[str, Identity] = {}
        self._blobs: dict[str, int] = {}

    def add(self, entries: Sequence[Entry]) -> Sequence[ListedFolder]:
        """The folders that are complete with these.

        Raises:
            Unavailable: the listing goes back, so no folder can be known to be complete.
        """
        complete: list[ListedFolder] = []
        for path, size, etag in entries:
            if _FOLDER.match(path) is None:
                continue
            folder = path[:_FOLDER_LENGTH]
            if folder != self._path:
                if folder < self._path:
                    raise Unavailable("S3 lists keys out of order")
                complete += self.finish()
                self._path = folder
            self._add(path[_FOLDER_LENGTH + 1 :], size, etag)
        return complete

    def finish(self) -> Sequence[ListedFolder]:
        """The last folder, at the end of the listing."""
        sidecars, blobs = self._sidecars, self._blobs
        self._sidecars, self._blobs = {}, {}
        if not sidecars and not blobs:
            return ()
        prefix = self._path + "/"
        listed = [ListedSidecar(prefix + name, sidecars[name]) for name in sorted(sidecars)]
        return (ListedFolder(self._path, "", listed, sorted(blobs.items())),)

    def _add(self, name: str, size: int, etag: str) -> None:
        name, slash, _ = name.partition("/")
        if not name or name.startswith("."):
            return
        if is_sidecar_name(name):
            if slash:
                self._sidecars.setdefault(name, Identity(size=UNREADABLE_SIZE))
            else:
                self._sidecars[name] = Identity(size=size, etag=etag)
        elif not slash:
            self._blobs[name] = size

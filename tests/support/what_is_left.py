"""Looking for a user's words and bytes wherever a mesh may keep them, in whatever form."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import random
import string
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import google_crc32c
import redis.asyncio as aioredis

MARKER_BYTES = 64
# What it deleted stays in the files of PostgreSQL and Valkey for a while: docs/operations.md.
OF_SERVICES = ("postgres", "valkey")


def a_word() -> str:
    """Twelve letters that are nowhere else: no search index cuts them, and no stem ends in them."""
    return "".join(random.choices(string.ascii_lowercase.replace("e", "x"), k=12))


@dataclass
class Secret:
    """What a user said of one file, and its bytes.

    `said(kind)` is a text around one word: in capitals, beside letters that are not ASCII, where a
    folded, stripped, cut or escaped form of it still has the word.
    """

    label: str
    content: bytes
    words: dict[str, str] = field(default_factory=dict)

    def said(self, kind: str) -> str:
        """A text of that kind, the same whenever it is asked for."""
        word = self.words.setdefault(kind, a_word())
        return f"Отчёт-É{word}ß財"

    def plain(self, kind: str) -> str:
        """The same in ASCII, for what takes nothing else."""
        return f"q-{self.words.setdefault(kind, a_word())}-q"

    def forms(self) -> Iterator[tuple[str, bytes, bool]]:
        """(what it is, the bytes to look for, whether capitals are the same)."""
        for kind, word in self.words.items():
            yield f"{self.label}: {kind}", word.encode(), True
            yield f"{self.label}: {kind} in hex", word.encode().hex().encode(), True
            for form in _in_base64(word.encode()):
                yield f"{self.label}: {kind} in base64", form, False
        marker = self.content[:MARKER_BYTES]
        yield f"{self.label}: bytes", marker, False
        yield f"{self.label}: bytes in hex", marker.hex().encode(), True
        for form in _in_base64(marker):
            yield f"{self.label}: bytes in base64", form, False
        for name in ("sha256", "md5"):
            digest = hashlib.new(name, self.content)
            yield f"{self.label}: {name}", digest.hexdigest().encode(), True
            yield f"{self.label}: {name}, raw", digest.digest(), False
            yield f"{self.label}: {name} in base64", base64.b64encode(digest.digest()), False
        crc = google_crc32c.value(self.content)
        if crc >= 10**9:
            yield f"{self.label}: crc32c", str(crc).encode(), False
        yield f"{self.label}: crc32c in hex", f"{crc:08x}".encode(), True


def a_secret(label: str, size: int = 1000) -> Secret:
    """Bytes that begin with a marker of their own, and go on with it."""
    marker = random.randbytes(MARKER_BYTES)
    return Secret(label, (marker * (size // MARKER_BYTES + 1))[:size])


def _in_base64(content: bytes) -> Iterator[bytes]:
    """What base64 makes of it at each of the three places where it may begin."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + content)
        # What shares a group with its neighbours says nothing.
        yield encoded[4 if before else 0 : -4]


class Search:
    """Which of the secrets a content still tells."""

    def __init__(self, *secrets: Secret) -> None:
        self._forms = [form for secret in secrets for form in secret.forms()]

    def tells(self, content: bytes) -> set[str]:
        folded = content.lower()
        return {what for what, form, folds in self._forms if form in (folded if folds else content)}

    async def through(self, found: AsyncIterator[tuple[str, bytes]]) -> dict[str, set[str]]:
        """Place -> what it tells, of those that tell anything."""
        return {place: told async for place, content in found if (told := self.tells(content))}


async def in_tables(*urls: str) -> AsyncIterator[tuple[str, bytes]]:
    """Every table of these databases, but PostgreSQL's own, as COPY gives it."""
    for url in urls:
        connection = await asyncpg.connect(url)
        try:
            for row in await connection.fetch(
                "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog',"
                " 'information_schema', 'pg_toast')"
            ):
                output = io.BytesIO()
                await connection.copy_from_query(
                    f'SELECT * FROM "{row["nspname"]}"."{row["relname"]}"', output=output
                )
                yield f"table {row['relname']}", output.getvalue()
        finally:
            await connection.close()


async def in_keys(url: str) -> AsyncIterator[tuple[str, bytes]]:
    """Every key of every database of a Valkey, with all that it holds."""
    async with aioredis.Redis.from_url(url) as client:
        spaces = await client.info("keyspace")
    for space in spaces:
        async with aioredis.Redis.from_url(url, db=int(space.removeprefix("db"))) as client:
            async for key in client.scan_iter("*"):
                yield f"key {key.decode(errors='replace')}", key + b"\0" + await _value(client, key)


async def _value(client: Any, key: bytes) -> bytes:
    kind = (await client.type(key)).decode()
    match kind:
        case "string":
            return await client.get(key) or b""
        case "hash":
            return _joined(await client.hgetall(key))
        case "list":
            return _joined(await client.lrange(key, 0, -1))
        case "set":
            return _joined(await client.smembers(key))
        case "zset":
            return _joined(await client.zrange(key, 0, -1))
        case "stream":
            return _joined(await client.xrange(key))
        case "none":
            return b""
    raise AssertionError(f"a key of type {kind}")


def _joined(found: Any) -> bytes:
    """All byte strings within, one after the other."""
    if isinstance(found, bytes):
        return found + b"\0"
    if isinstance(found, Mapping):
        return b"".join(_joined(part) for item in found.items() for part in item)
    return b"".join(_joined(part) for part in found)


async def in_folder(folder: Path, *, but: Collection[str] = ()) -> AsyncIterator[tuple[str, bytes]]:
    """Every file below a folder and every name; not what lies in its folders `but`."""
    for path in await asyncio.to_thread(lambda: sorted(folder.rglob("*"))):
        inside = path.relative_to(folder)
        if inside.parts[0] in but:
            continue
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        yield f"file {inside}", str(inside).encode(errors="surrogateescape") + b"\0" + content


async def in_bucket(client: Any, bucket: str) -> AsyncIterator[tuple[str, bytes]]:
    """Every object with its versions, every marker that one was removed, every multipart upload."""
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket)
    for page in pages:
        for one in page.get("Versions", ()):
            version = {} if one["VersionId"] == "null" else {"VersionId": one["VersionId"]}
            found = client.get_object(Bucket=bucket, Key=one["Key"], **version)
            yield f"object {one['Key']}", one["Key"].encode() + b"\0" + found["Body"].read()
        for one in page.get("DeleteMarkers", ()):
            yield f"marker {one['Key']}", one["Key"].encode()
    for one in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
        yield f"upload {one['Key']}", one["Key"].encode()

"""Scratch files of a self-test: put, remembered, and removed whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from artstore.v1 import types_pb2, uploads_pb2
from artstore_client import errors
from artstore_client.client import Client
from artstore_client.local.digest import crc32c
from artstore_client.uploads.sending import send_stream

KEPT_DAYS = 1
REMOVE_SECONDS = 15.0


class Scratch:
    """Files with a random word in their names, in one namespace.

    Attributes:
        named: the caller said which element it is to be.
        element_id: where they are looked at; empty until `choose_element` or the first file.
        word: in the name of each of them, and in no other name.
        contents: id -> bytes of all files that were put.
        change_tokens: to wait for by a search.
        left: what `remove` could not remove, in words.
    """

    def __init__(self, client: Client, element_id: str, namespace: str) -> None:
        self._client = client
        self.named = bool(element_id)
        self.element_id = element_id
        self.word = f"selftest{secrets.token_hex(8)}"
        self.namespace = namespace or f"selftest-{secrets.token_hex(4)}"
        self.contents: dict[str, bytes] = {}
        self.change_tokens: list[str] = []
        self.left: list[str] = []
        self._files: list[types_pb2.File] = []
        self._began = False
        self._removed = False

    @property
    def files_here(self) -> list[types_pb2.File]:
        """Those on the element."""
        return [file for file in self._files if file.storage_element_id == self.element_id]

    async def choose_element(self) -> None:
        """Take the first element that is known, unless one was named.

        Raises:
            ConfigurationError: the named one is not known.
        """
        known = await self._client.element_ids()
        if not self.element_id:
            self.element_id = known[0]
        elif self.element_id not in known:
            raise errors.ConfigurationError(
                f"no storage element {self.element_id!r}; known are {', '.join(known)}"
            )

    async def put(self, title: str, content: bytes) -> types_pb2.File:
        """Put a file in through ingest; the first one chooses the element, if none was named."""
        self._began = True
        uploaded = await self._client.upload(
            content,
            name=f"{self.word} {title}.bin",
            namespace=self.namespace,
            retention_days=KEPT_DAYS,
        )
        if not self.named and not self._files:
            self.element_id = uploaded.file.storage_element_id
        return self._took(uploaded.file, content, uploaded.change_token)

    async def put_straight(self, title: str, content: bytes) -> types_pb2.File:
        """Put a file into the element, past ingest (ADMIN)."""
        self._began = True
        # A call that no user needs, and so none of the client's.
        connection = self._client._connection
        stub = await connection.storage(self.element_id)
        header = uploads_pb2.UploadHeader(
            original_filename=f"{self.word} {title}.bin",
            namespace=self.namespace,
            retention_days=KEPT_DAYS,
            request_id=str(uuid.uuid4()),
            size_bytes=len(content),
        )
        answer = await send_stream(
            connection.calls,
            stub.Upload,
            uploads_pb2.UploadRequest(header=header),
            _rest(content),
            doing=f"Upload on {self.element_id}",
        )
        return self._took(answer.file, content, answer.change_token)

    def _took(self, file: types_pb2.File, content: bytes, token: str) -> types_pb2.File:
        self.contents[file.file_id] = content
        self._files.append(file)
        self.change_tokens.append(token)
        return file

    def not_removed(self) -> str:
        """What an end that came too soon leaves, "" for nothing."""
        if not self._began or self._removed:
            return ""
        return f"files may be left in namespace {self.namespace}; they are good for {KEPT_DAYS} day"

    async def remove(self) -> None:
        """Delete all of them, those too of an upload whose answer never came."""
        if not self._began:
            return
        try:
            async with asyncio.timeout(REMOVE_SECONDS):
                for file_id in await self._present():
                    await self._delete(file_id)
        except TimeoutError:
            self.left.append(f"some in namespace {self.namespace}: no time to remove them")
        self._removed = True

    async def _present(self) -> list[str]:
        found = dict.fromkeys(self.contents)
        try:
            async with aclosing(self._client.list_files(namespace=self.namespace)) as files:
                async for file in files:
                    if self.word in file.original_filename:
                        found[file.file_id] = None
        except errors.ArtStoreError as error:
            self.left.append(f"perhaps some in namespace {self.namespace}: {error.message}")
        return list(found)

    async def _delete(self, file_id: str) -> None:
        try:
            await self._client.delete(file_id)
        except errors.NotFound:
            return
        except errors.FailedPrecondition as error:
            self.left.append(
                f"{file_id} on {error.metadata['mode']} element, which deletes nothing; it is good"
                f" for {KEPT_DAYS} day"
                if error.reason == "MODE"
                else f"{file_id}: {error.message}"
            )
        except errors.ArtStoreError as error:
            self.left.append(f"{file_id}: {error.message}")


async def _rest(content: bytes) -> AsyncGenerator[uploads_pb2.UploadRequest, None]:
    """What follows the header: one chunk, since scratch files are small, and the end."""
    chunk = types_pb2.Chunk(offset=0, data=content, crc32c=crc32c(content))
    yield uploads_pb2.UploadRequest(chunk=chunk)
    digest = hashlib.sha256(content).hexdigest()
    finish = uploads_pb2.UploadFinish(size_bytes=len(content), sha256=digest)
    yield uploads_pb2.UploadRequest(finish=finish)

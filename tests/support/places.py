"""Where the contract suite keeps a store: opened as often as a test likes, with a back door."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from storage_server.store.local import LocalStore
from storage_server.store.open import StoreConfig, open_store
from storage_server.store.port import Store
from tests.support.memory_store import Memory, MemoryStore
from tests.support.services import RcloneProcess, S3Account, S3Service

PREFIX = "storage_element_01"
FOLDER = "2026/11/24/03"
MAX_CONNECTIONS = 6
"""Few, so that one that is not given back is missed soon."""
PUTS_IN_FLIGHT = 8


class Place(Protocol):
    """One element's place. The stores that `open` gives see the same files."""

    name: str

    async def open(self) -> Store: ...

    async def close(self) -> None: ...

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files behind the store's back."""

    def put_folder(self, path: str) -> None:
        """Make a folder of that name behind the store's back."""

    def paths(self) -> set[str]:
        """What is there, stages and unfinished uploads too."""


def put_files(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files below `root`."""
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def put_objects(client: Any, bucket: str, prefix: str, files: Mapping[str, bytes]) -> None:
    """Write objects below `prefix`, several at a time."""

    def put(path: str) -> None:
        client.put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=files[path])

    with ThreadPoolExecutor(PUTS_IN_FLIGHT) as threads:
        for _ in threads.map(put, files):
            pass


class LocalPlace:
    name = "local"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stores: list[Store] = []

    async def open(self) -> Store:
        store = await open_store(StoreConfig(root=self.root))
        assert isinstance(store, LocalStore)
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    def put(self, files: Mapping[str, bytes]) -> None:
        put_files(self.root, files)

    def put_folder(self, path: str) -> None:
        (self.root / path).mkdir(parents=True)

    def paths(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


class S3Place:
    def __init__(self, name: str, server: S3Service, account: S3Account) -> None:
        self.name = name
        self.account = account
        self._server = server
        self.client: Any = server.client()
        self._stores: list[Store] = []

    def config(self, **more: Any) -> StoreConfig:
        return StoreConfig(
            endpoint_url=self.account.endpoint_url,
            bucket=self.account.bucket,
            prefix=PREFIX,
            access_key=self.account.access_key,
            secret_key=self.account.secret_key,
            region=self.account.region,
            max_connections=MAX_CONNECTIONS,
            **more,
        )

    async def open(self) -> Store:
        store = await open_store(self.config())
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    def put(self, files: Mapping[str, bytes]) -> None:
        if isinstance(self._server, RcloneProcess):
            # Its objects are files, and writing those is a hundred times faster.
            put_files(self._server.root / self.account.bucket / PREFIX, files)
            return
        put_objects(self.client, self.account.bucket, PREFIX, files)

    def put_folder(self, path: str) -> None:
        self.put({f"{path}/.keep": b""})

    def paths(self) -> set[str]:
        listed: list[str] = []
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.account.bucket
        ):
            listed += [found["Key"] for found in page.get("Contents", ())]
        try:
            uploads = self.client.list_multipart_uploads(Bucket=self.account.bucket)
        except self.client.exceptions.NoSuchUpload:
            # How rclone says that there are none.
            uploads = {}
        listed += [found["Key"] for found in uploads.get("Uploads", ())]
        return {key.removeprefix(PREFIX + "/") for key in listed}


class MemoryPlace:
    name = "memory"

    def __init__(self) -> None:
        self.memory = Memory()

    async def open(self) -> Store:
        return MemoryStore(self.memory)

    async def close(self) -> None:
        pass

    def put(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            self.memory.put(path, content)

    def put_folder(self, path: str) -> None:
        self.memory.folders.add(path)

    def paths(self) -> set[str]:
        return {*self.memory.files, *self.memory.stages}

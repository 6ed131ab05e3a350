"""What somebody does to a store past the service: by hand, by a backup, by accident."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol


class Backdoor(Protocol):
    """A store's bytes, without its rules. Paths are relative to the element's root."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, content: bytes) -> None: ...

    def remove(self, path: str) -> None: ...

    def rename(self, path: str, to: str) -> None:
        """What a tool does that keeps a file and changes its name."""
        ...

    def paths(self) -> set[str]:
        """Of all files in folders `YYYY/MM/DD/HH`."""
        ...

    def remove_files(self) -> None:
        """Those, and whatever else is in such folders; `element.json` stays."""
        ...

    def remove_all(self) -> None: ...

    def away(self) -> AbstractContextManager[None]:
        """Nothing is there in the block: a root that is not mounted, an empty bucket. What is
        there after it is what was there before.
        """
        ...


class LocalBackdoor:
    """An element's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(".fresh")
        fresh.write_bytes(content)
        fresh.rename(target)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def rename(self, path: str, to: str) -> None:
        (self.root / to).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).rename(self.root / to)

    def paths(self) -> set[str]:
        found = self.root.glob("[0-9]*/*/*/*/*")
        return {path.relative_to(self.root).as_posix() for path in found if path.is_file()}

    def remove_files(self) -> None:
        for folder in self.root.glob("[0-9]*"):
            shutil.rmtree(folder)

    def remove_all(self) -> None:
        for entry in self.root.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @contextmanager
    def away(self) -> Iterator[None]:
        elsewhere = self.root.with_name("elsewhere")
        self.root.rename(elsewhere)
        try:
            yield
        finally:
            if self.root.exists():
                shutil.rmtree(self.root)
            elsewhere.rename(self.root)


class S3Backdoor:
    """An element's prefix in a bucket, by a blocking boto3 client."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def read(self, path: str) -> bytes:
        found = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}")
        return bytes(found["Body"].read())

    def write(self, path: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}", Body=content)

    def remove(self, path: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}")

    def rename(self, path: str, to: str) -> None:
        self.write(to, self.read(path))
        self.remove(path)

    def paths(self) -> set[str]:
        return {path for path in self.all() if path[0].isdigit()}

    def remove_files(self) -> None:
        for path in self.paths():
            self.remove(path)

    def remove_all(self) -> None:
        for path in self.all():
            self.remove(path)

    @contextmanager
    def away(self) -> Iterator[None]:
        before = {path: self.read(path) for path in self.all()}
        self.remove_all()
        try:
            yield
        finally:
            self.remove_all()
            self._put_back(before)

    @contextmanager
    def without_bucket(self) -> Iterator[None]:
        """The bucket is gone in the block; after it, it is there with what was in it before."""
        before = {path: self.read(path) for path in self.all()}
        self._delete_bucket()
        try:
            yield
        finally:
            with suppress(self._client.exceptions.NoSuchBucket):
                self._delete_bucket()
            self._client.create_bucket(Bucket=self._bucket)
            self._put_back(before)

    def _delete_bucket(self) -> None:
        self.remove_all()
        self._client.delete_bucket(Bucket=self._bucket)

    def _put_back(self, before: Mapping[str, bytes]) -> None:
        for path, content in before.items():
            self.write(path, content)

    def all(self) -> set[str]:
        """Of all objects, those of the element itself too."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}/"
        )
        return {
            found["Key"].removeprefix(f"{self._prefix}/")
            for page in pages
            for found in page.get("Contents", ())
        }

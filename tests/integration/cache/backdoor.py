"""What somebody does to a store past the service: by hand, by a backup, by accident."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol


class Backdoor(Protocol):
    """A store's bytes, without its rules. Paths are relative to the element's root."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, content: bytes) -> None: ...

    def remove(self, path: str) -> None: ...

    def remove_all(self) -> None: ...


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

    def remove_all(self) -> None:
        for entry in self.root.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


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

    def remove_all(self) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}/"
        )
        for page in pages:
            for found in page.get("Contents", ()):
                self._client.delete_object(Bucket=self._bucket, Key=found["Key"])

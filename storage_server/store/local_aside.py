"""What is set aside in a folder: the blocking calls, as in `local_files`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from storage_server.store import durable
from storage_server.store.folders import Folders
from storage_server.store.local_files import replace_file
from storage_server.store.os_errors import changes_store
from storage_server.store.paths import QUARANTINE, STAGING, split


@changes_store
def keep(folders: Folders, name: str, content: bytes) -> None:
    """Write it durably."""
    with folders.ensured(STAGING) as staging, folders.ensured(QUARANTINE) as folder:
        replace_file(content, staging, name, folder)


def names(folders: Folders) -> Sequence[str]:
    """What is there."""
    try:
        with folders.opened(QUARANTINE) as folder, os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except FileNotFoundError:
        folders.prove_root()
        return []


@changes_store
def remove(folders: Folders, name: str) -> None:
    """Remove it durably."""
    try:
        with folders.opened(QUARANTINE) as folder:
            if durable.unlink(name, folder):
                durable.fsync(folder)
    except FileNotFoundError:
        folders.prove_root()


def changed_at(folders: Folders, name: str) -> float | None:
    """When it was written or moved there, seconds since 1970; None when it is not there."""
    try:
        with folders.opened(QUARANTINE) as folder:
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime
    except FileNotFoundError:
        folders.prove_root()
        return None


@changes_store
def move(folders: Folders, path: str, name: str) -> bool:
    """Move a blob there durably; False when it is not there."""
    from_folder, from_name = split(path)
    try:
        with folders.opened(from_folder) as source, folders.ensured(QUARANTINE) as folder:
            durable.rename(from_name, source, name, folder)
            durable.fsync(folder)
            durable.fsync(source)
    except FileNotFoundError:
        folders.prove_root()
        return False
    return True

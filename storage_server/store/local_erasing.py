"""Removing whatever a local store has of one file. Everything here blocks.

Folders are looked through themselves, not the index of their names: nothing may be passed over
because it has just come.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from storage_server.domain.naming import is_sidecar_name
from storage_server.store import durable, paths
from storage_server.store.folders import Folders
from storage_server.store.os_errors import changes_store


@changes_store
def erase(
    folders: Folders, file_id: str, wanted: Collection[str], others: Collection[str], keep: str
) -> None:
    """See `storage_server.store.port.Store.erase`."""
    for folder in (paths.STAGING, *_quarantine(folders), *wanted):
        _erase_in(folders, folder, file_id, keep)
    for path in sorted(others, key=is_sidecar_name):
        if path != keep:
            _remove(folders, *paths.split(path))


def _erase_in(folders: Folders, folder: str, file_id: str, keep: str) -> None:
    try:
        with folders.opened(folder) as fd:
            with os.scandir(fd) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if file_id in entry.name.lower() and not entry.is_dir(follow_symlinks=False)
                ]
            gone = [name for name in names if f"{folder}/{name}" != keep]
            for name in sorted(gone, key=is_sidecar_name):
                durable.unlink(name, fd)
            if gone:
                durable.fsync(fd)
    except FileNotFoundError:
        folders.prove_root()


def _remove(folders: Folders, folder: str, name: str) -> None:
    try:
        with folders.opened(folder) as fd:
            if durable.unlink(name, fd):
                durable.fsync(fd)
    except FileNotFoundError:
        folders.prove_root()


def _quarantine(folders: Folders) -> list[str]:
    """The folders of the quarantine, the innermost first."""
    found = [paths.QUARANTINE]
    for folder in found:
        try:
            with folders.opened(folder) as fd, os.scandir(fd) as entries:
                found += [
                    f"{folder}/{entry.name}"
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                ]
        except FileNotFoundError:
            folders.prove_root()
    return found[::-1]

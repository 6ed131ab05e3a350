"""What records every write, and what reads and changes files."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.concurrency.unbroken import Unbroken
from storage_server.element.retention import Retention
from storage_server.files.changes import Changes
from storage_server.files.download import Downloads
from storage_server.files.element_files import ElementFiles
from storage_server.files.erasing import Erasing, UploadsOfFiles
from storage_server.files.lookup import Lookup
from storage_server.files.refresh import Refresh
from storage_server.locks import LazyLocks
from storage_server.settings import StorageSettings
from storage_server.wiring.adapters import Adapters
from storage_server.writing.protocol import Writing
from storage_server.writing.purging import Purging
from storage_server.writing.recording import Recording
from storage_server.writing.remains import Remains
from storage_server.writing.replay import Replay
from storage_server.writing.request_pins import RequestPins


@dataclass(frozen=True, slots=True)
class WiredWriting:
    """What every write of a file goes through.

    Attributes:
        file_locks: one writer of a file at a time, within this process.
        remains: of files that were erased.
        unbroken: what goes on to its end when its caller leaves.
    """

    file_locks: KeyedLocks
    recording: Recording
    protocol: Writing
    replay: Replay
    remains: Remains
    unbroken: Unbroken
    purging: Purging


def wire_writing(settings: StorageSettings, adapters: Adapters) -> WiredWriting:
    """The write protocol of one process."""
    element, catalog, file_locks = adapters.element, adapters.catalog, KeyedLocks()
    recording = Recording(element, catalog, adapters.writer, ttl_hours=settings.ttl_hours)
    protocol = Writing(element, recording, file_locks, adapters.clock)
    remains = Remains(catalog, RequestPins(adapters.redis).forget)
    return WiredWriting(
        file_locks=file_locks,
        recording=recording,
        protocol=protocol,
        replay=Replay(element, catalog, protocol, remains),
        remains=remains,
        unbroken=Unbroken(),
        purging=Purging(catalog, adapters.writer),
    )


def wire_retention(settings: StorageSettings, adapters: Adapters) -> Retention:
    """How long files are kept; it remembers nothing itself."""
    return Retention(adapters.clock, adapters.policies, trash_days=settings.trash_days)


def wire_files(
    settings: StorageSettings, adapters: Adapters, writing: WiredWriting
) -> ElementFiles:
    """What callers do with files that are there."""
    element, catalog = adapters.element, adapters.catalog
    refresh = Refresh(
        element, catalog, writing.recording, writing.file_locks, LazyLocks(adapters.locks)
    )
    retention = wire_retention(settings, adapters)
    lookup = Lookup(element, catalog.reads, refresh, retention)
    return ElementFiles(
        lookup=lookup,
        downloads=Downloads(element, lookup),
        changes=Changes(
            element,
            catalog,
            writing.protocol,
            writing.replay,
            writing.unbroken,
            retention,
        ),
    )


def wire_erasing(adapters: Adapters, writing: WiredWriting, uploads: UploadsOfFiles) -> Erasing:
    """What erases files for ever."""
    return Erasing(
        adapters.element,
        adapters.catalog,
        writing.protocol,
        writing.replay,
        writing.remains,
        writing.unbroken,
        uploads,
    )

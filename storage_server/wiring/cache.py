"""What brings rows in step with sidecars, and what tells followers of rows."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.operations import Operations
from storage_server.cache.check import Check
from storage_server.cache.cleanup import Cleanup
from storage_server.cache.forgetting import Forgetting
from storage_server.cache.operations import CacheOperations
from storage_server.cache.rebuild import Rebuild
from storage_server.cache.restoring import NameRestoring
from storage_server.cache.scrub import Scrub
from storage_server.feed import ChangeWatch
from storage_server.settings import StorageSettings
from storage_server.wiring.adapters import Adapters
from storage_server.wiring.files import WiredWriting

# A follower's snapshot waits so long for another operation on the cache.
REPAIR_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Cache:
    """Both ends of the cache.

    Attributes:
        operations: what CacheService offers.
        watch: the change feed; a snapshot finds the files that lack a row first.
    """

    operations: CacheOperations
    watch: ChangeWatch


def wire_cache(settings: StorageSettings, adapters: Adapters, writing: WiredWriting) -> Cache:
    """What works on rows."""
    element, catalog, locks = adapters.element, adapters.catalog, adapters.locks
    store, element_id = element.reading, element.element_id
    scrub = Scrub(store=store, catalog=catalog, bytes_per_second=settings.scrub_bytes_per_second)
    names = NameRestoring(
        store=store, catalog=catalog, file_locks=writing.file_locks, writer=adapters.writer
    )
    operations = CacheOperations(
        element_id=element_id,
        locks=locks,
        check=Check(
            store=store, catalog=catalog, proof=element, element_id=element_id, scrub=scrub
        ),
        rebuild=Rebuild(
            store=store,
            catalog=catalog,
            proof=element,
            cache_ttl_hours=lambda: settings.ttl_hours(element.mode),
            names=names,
            forgetting=Forgetting(store, catalog, writing.file_locks, writing.remains),
        ),
        cleanup=Cleanup(store, catalog, element),
        operations=Operations(),
        writer=element,
    )
    watch = ChangeWatch(
        catalog, make_complete=lambda: operations.complete(wait_seconds=REPAIR_WAIT_SECONDS)
    )
    return Cache(operations, watch)

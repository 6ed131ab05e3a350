"""The whole element, from what it reaches the outside by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.calls.admin_link import AdminLink
from storage_server.feed import History
from storage_server.files.element_files import ElementFiles
from storage_server.reporting.description import Description
from storage_server.reporting.reports import Reports
from storage_server.rpc.answers import Answers
from storage_server.rpc.feed import FeedStreams
from storage_server.rpc.storage import StorageServicer
from storage_server.settings import StorageSettings
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.uploads.reserving import Elsewhere
from storage_server.wiring.adapters import Adapters, StoreOpener
from storage_server.wiring.cache import Cache, wire_cache
from storage_server.wiring.files import WiredWriting, wire_files, wire_writing
from storage_server.wiring.upkeep import Upkeep, wire_upkeep
from storage_server.wiring.uploads import wire_uploads


@dataclass(frozen=True, slots=True)
class WiredElement:
    """One room of the server after the other, as `app.py` serves and runs them."""

    adapters: Adapters
    writing: WiredWriting
    files: ElementFiles
    uploads: ElementUploads
    cache: Cache
    upkeep: Upkeep
    description: Description

    @property
    def answers(self) -> Answers:
        """How its files are told to callers."""
        return Answers(self.adapters.element.element_id, self.adapters.catalog)


def wire_element(
    settings: StorageSettings,
    adapters: Adapters,
    *,
    open_store: StoreOpener,
    endpoint: Callable[[], str],
    elsewhere: Elsewhere,
    adopt: bool = False,
) -> WiredElement:
    """Nothing is opened or begun yet.

    Args:
        open_store: called until it does not raise Unavailable.
        endpoint: answers host:port that others reach this process at, empty until it listens.
        elsewhere: what the other elements say of an account.
        adopt: the store is this element's, whatever its `element.json` says or lacks.
    """
    writing = wire_writing(settings, adapters)
    files = wire_files(settings, adapters, writing)
    uploads = wire_uploads(settings, adapters, writing, find=files.lookup.find, elsewhere=elsewhere)
    return WiredElement(
        adapters=adapters,
        writing=writing,
        files=files,
        uploads=uploads,
        cache=wire_cache(settings, adapters, writing),
        upkeep=wire_upkeep(
            settings, adapters, writing, uploads, open_store=open_store, adopt=adopt
        ),
        description=Description(
            adapters.element,
            uploads.space,
            adapters.catalog.feed,
            adapters.clock,
            endpoint=endpoint,
            priority=settings.priority,
        ),
    )


def wire_servicer(wired: WiredElement) -> StorageServicer:
    """StorageService, over all rooms."""
    element, feed = wired.adapters.element, wired.adapters.catalog.feed
    return StorageServicer(
        answers=wired.answers,
        description=wired.description,
        mode_change=wired.upkeep.mode_change,
        files=wired.files,
        uploads=wired.uploads,
        feed=FeedStreams(element, wired.cache.watch, History(feed), feed),
    )


def wire_reports(wired: WiredElement, admin: AdminLink) -> Reports:
    """What tells Valkey and admin how the element is."""
    return Reports(
        wired.adapters.element,
        wired.description,
        redis=wired.adapters.redis,
        admin=admin.channel,
        account=admin.account,
    )

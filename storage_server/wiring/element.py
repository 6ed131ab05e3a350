"""The whole element, from what it reaches the outside by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.calls.admin_link import AdminLink
from mesh.identity.tickets import TicketVerifier
from mesh.identity.tokens import KeySet
from storage_server.feed import History
from storage_server.files.element_files import ElementFiles
from storage_server.reporting.description import Description
from storage_server.reporting.reports import Reports
from storage_server.rpc.answers import Answers
from storage_server.rpc.cache import CacheServicer
from storage_server.rpc.feed import FeedStreams
from storage_server.rpc.storage import StorageServicer
from storage_server.rpc.transfers import TransferServicer
from storage_server.settings import StorageSettings
from storage_server.steps.element_steps import ElementSteps
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.wiring.adapters import Adapters, StoreOpener
from storage_server.wiring.cache import Cache, wire_cache
from storage_server.wiring.files import wire_files, wire_writing
from storage_server.wiring.peers import WiredPeers
from storage_server.wiring.steps import wire_steps
from storage_server.wiring.upkeep import Upkeep, wire_upkeep
from storage_server.wiring.uploads import wire_uploads


@dataclass(frozen=True, slots=True)
class WiredElement:
    """One room of the server after the other, as `app.py` serves and runs them."""

    adapters: Adapters
    files: ElementFiles
    uploads: ElementUploads
    steps: ElementSteps
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
    peers: WiredPeers,
    adopt: bool = False,
) -> WiredElement:
    """Nothing is opened or begun yet.

    Args:
        open_store: called until it does not raise Unavailable.
        endpoint: answers host:port that others reach this process at, empty until it listens.
        peers: the other elements.
        adopt: the store is this element's, whatever its `element.json` says or lacks.
    """
    writing = wire_writing(settings, adapters)
    files = wire_files(settings, adapters, writing)
    uploads = wire_uploads(
        settings, adapters, writing, find=files.lookup.find, elsewhere=peers.elsewhere
    )
    steps = wire_steps(settings, adapters, writing, uploads, source=peers.source)
    cache = wire_cache(settings, adapters, writing)
    return WiredElement(
        adapters=adapters,
        files=files,
        uploads=uploads,
        steps=steps,
        cache=cache,
        upkeep=wire_upkeep(
            settings,
            adapters,
            writing,
            uploads,
            steps.keeping,
            open_store=open_store,
            adopt=adopt,
        ),
        description=Description(
            adapters.element,
            uploads.space,
            adapters.catalog.feed,
            adapters.clock,
            endpoint=endpoint,
            priority=settings.priority,
            followers_behind=cache.watch.behind.names,
        ),
    )


def wire_servicers(
    wired: WiredElement, keys: KeySet
) -> tuple[StorageServicer, TransferServicer, CacheServicer]:
    """StorageService, over all rooms; TransferService, the steps of admin; CacheService.

    Args:
        keys: admin's, by which tickets are verified.
    """
    element, feed = wired.adapters.element, wired.adapters.catalog.feed
    tickets = TicketVerifier(keys, wired.adapters.clock.agreed)
    storage = StorageServicer(
        answers=wired.answers,
        description=wired.description,
        mode_change=wired.upkeep.mode_change,
        files=wired.files,
        uploads=wired.uploads,
        feed=FeedStreams(element, wired.cache.watch, History(feed, wired.cache.watch.news), feed),
        tickets=tickets,
    )
    steps = TransferServicer(
        wired.answers, wired.files.changes, wired.steps, tickets, wired.upkeep.leftovers
    )
    return storage, steps, CacheServicer(wired.cache.operations)


def wire_reports(wired: WiredElement, admin: AdminLink) -> Reports:
    """What tells Valkey and admin how the element is."""
    return Reports(
        wired.adapters.element,
        wired.description,
        redis=wired.adapters.redis,
        admin=admin.channel,
        account=admin.account,
    )

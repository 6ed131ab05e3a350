"""What happens to files after they are stored: looking, stepping, settling, and transfers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from admin_server.elements.registered import RegisteredElements
from admin_server.keys.tickets import TicketIssuer
from admin_server.life.homes import BEGUN_SHARE, HomeSteps
from admin_server.life.looking import Looking
from admin_server.life.seen import Terms
from admin_server.life.settling import Settling
from admin_server.life.stepping import Stepping
from admin_server.life.sweep import Sweep
from admin_server.prepared_database import PreparedDatabase
from admin_server.registry.following import OwnToken
from admin_server.rpc.transfers import TransferServicer
from admin_server.settings import AdminSettings
from admin_server.transfers.followers import Followers
from admin_server.transfers.queue import TransferQueue
from admin_server.transfers.starting import Starting
from admin_server.transfers.table import TransferTable
from admin_server.transfers.target import Targets
from admin_server.transfers.trimming import Trimming
from admin_server.transfers.worker import Worker
from admin_server.transfers.workers import POLL_SECONDS, Workers
from admin_server.wiring.access import Access
from admin_server.wiring.erasures import WiredErasures, wire_erasures
from admin_server.wiring.registry import Registry
from mesh.concurrency.background import Background


@dataclass(frozen=True, slots=True)
class Life:
    """One of each per process.

    Attributes:
        settling: settles one file; erasures and collections use it too.
        homes: home-making steps on record.
        workers: work on transfers.
        sweep: finishes what nobody works on.
        trimming: forgets transfers that ended long ago.
        transfers: the part of LifecycleService that moves files.
        erasing: holds and erases files.
    """

    settling: Settling
    homes: HomeSteps
    workers: Workers
    sweep: Sweep
    trimming: Trimming
    transfers: TransferServicer
    erasing: WiredErasures

    def start(self, background: Background, database: PreparedDatabase) -> None:
        """What goes on by itself, once admin's database is there."""

        def once_prepared(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
            async def run() -> None:
                await database.prepared.wait()
                await work()

            return run

        async def work() -> None:
            await self.homes.note_tables()
            await self.workers.run()

        background.start("transfers", once_prepared(work))
        background.start("transfers counted", once_prepared(self.workers.count))
        background.start("transfers trimmed", once_prepared(self.trimming.run))
        background.start("sweep", once_prepared(self.sweep.run))
        background.start("erasures", once_prepared(self.erasing.erasures.run))


def wire_life(
    settings: AdminSettings,
    database: PreparedDatabase,
    elements: RegisteredElements,
    access: Access,
    registry: Registry,
    *,
    token: OwnToken,
    now: Clock,
) -> Life:
    """Nothing is asked yet."""
    homes = HomeSteps(
        database,
        start_delay_seconds=settings.first_home_step_seconds,
        life_seconds=settings.decisions_live_seconds,
    )
    look = Looking(elements, homes, channel=registry.channels.to, metadata=token.metadata, now=now)
    stepping = Stepping(
        elements,
        TicketIssuer(access.rotation, now=now, lifetime_seconds=settings.ticket_seconds),
        channel=registry.channels.to,
        metadata=token.metadata,
        own_name=settings.own_name,
        ticket_life=timedelta(seconds=settings.ticket_seconds),
        decisions_live=timedelta(seconds=settings.decisions_live_seconds * BEGUN_SHARE),
    )
    terms = Terms(
        moved_keep=timedelta(hours=settings.moved_keep_hours),
        incoming_keep=timedelta(days=settings.incoming_keep_days),
        expired_keep=timedelta(hours=settings.expired_keep_hours),
        tombstone_keep=timedelta(days=settings.tombstone_days),
    )
    settling = Settling(look, stepping, homes, terms, now)
    table = TransferTable(database, per_account=settings.transfers_per_account)
    queue = TransferQueue(
        database,
        per_element=settings.transfers_per_element,
        lease_seconds=settings.transfer_lease_seconds,
    )
    targets = Targets(elements)
    worker = Worker(queue, table, settling, targets, settings.transfer_retry_seconds)
    poll_seconds = min(POLL_SECONDS, settings.transfer_retry_seconds)
    workers = Workers(queue, worker, parallel=settings.transfers, poll_seconds=poll_seconds)
    followers = Followers(elements, AccountTable(database), own_name=settings.own_name)
    starting = Starting(elements, followers, targets, look, stepping, table, workers.wake)
    return Life(
        settling=settling,
        homes=homes,
        workers=workers,
        trimming=Trimming(database, keep=timedelta(days=settings.transfer_keep_days)),
        sweep=Sweep(database, settling, seconds=settings.sweep_seconds),
        transfers=TransferServicer(starting, table, workers.tried),
        erasing=wire_erasures(database, elements, settling),
    )

"""What brings the element up, keeps it up and in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from storage_server.element.clock_watch import ClockWatch
from storage_server.element.mode_change import ModeChange
from storage_server.element.opening import Opening
from storage_server.element.write_probe import WriteProbe
from storage_server.settings import StorageSettings
from storage_server.steps.keeping import StepsKeeping
from storage_server.upkeep.leftovers import Leftovers
from storage_server.upkeep.maintenance import Maintenance
from storage_server.upkeep.silence import Silence
from storage_server.upkeep.sweep import Sweeper
from storage_server.upkeep.trash import Trash
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.wiring.adapters import Adapters, StoreOpener
from storage_server.wiring.files import WiredWriting, wire_retention


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Each has a `watch` for the background, but for the mode, which follows itself, and the
    leftovers, which admin asks for.
    """

    opening: Opening
    clock_watch: ClockWatch
    write_probe: WriteProbe
    mode_change: ModeChange
    maintenance: Maintenance
    silence: Silence
    leftovers: Leftovers


def wire_upkeep(
    settings: StorageSettings,
    adapters: Adapters,
    writing: WiredWriting,
    uploads: ElementUploads,
    steps: StepsKeeping,
    *,
    open_store: StoreOpener,
    adopt: bool,
) -> Upkeep:
    """All that goes on by itself.

    Args:
        open_store: see `wire_opening`.
        adopt: see `wire_opening`.
    """
    element, catalog = adapters.element, adapters.catalog
    sweeper = Sweeper(
        element,
        catalog,
        writing.file_locks,
        steps,
        running=lambda: uploads.intake.running,
    )
    leftovers = Leftovers(
        element,
        adapters.clock,
        writing.file_locks,
        uploads.keeping,
        named=sweeper.named,
        orphan_age=timedelta(days=settings.orphan_days),
        quarantine=timedelta(days=settings.quarantine_days),
    )
    maintenance = Maintenance(
        element,
        adapters.clock,
        writing.replay,
        uploads.keeping,
        sweeper=sweeper,
        trash=Trash(
            element, catalog, writing.file_locks, retention=wire_retention(settings, adapters)
        ),
        leftovers=leftovers,
    )
    write_probe = WriteProbe(
        element,
        interval_seconds=settings.write_probe_seconds,
        on_recovered=maintenance.started,
    )
    mode_change = ModeChange(
        element,
        catalog.writes,
        ttl_hours=settings.ttl_hours,
        abort_uploads=uploads.abort_all,
        unbroken=writing.unbroken,
    )

    async def begin_writing() -> None:
        await write_probe.prove()
        writing.replay.take_over()
        await uploads.take_over()
        await steps.take_over()
        mode_change.resume()
        maintenance.started()

    async def let_go() -> None:
        await steps.let_go()
        await uploads.let_go()

    return Upkeep(
        opening=wire_opening(
            settings,
            adapters,
            open_store=open_store,
            adopt=adopt,
            on_writing=begin_writing,
            on_lost=let_go,
        ),
        clock_watch=ClockWatch(
            adapters.clock,
            element,
            catalog.reads,
            database=catalog.database,
            redis=adapters.redis,
        ),
        write_probe=write_probe,
        mode_change=mode_change,
        maintenance=maintenance,
        leftovers=leftovers,
        silence=Silence(
            element,
            adapters.clock,
            uploads,
            idle_seconds=settings.stream_idle_seconds,
            lapse_seconds=settings.upload_lapse_seconds,
        ),
    )


def wire_opening(
    settings: StorageSettings,
    adapters: Adapters,
    *,
    open_store: StoreOpener,
    adopt: bool = False,
    on_writing: Callable[[], Awaitable[None]],
    on_lost: Callable[[], Awaitable[None]],
) -> Opening:
    """What opens store and tables and becomes the writer.

    Args:
        open_store: called until it does not raise Unavailable.
        adopt: the store is this element's, whatever its `element.json` says or lacks.
        on_writing: called before the first write.
        on_lost: called when this process is not the writer any more.
    """
    return Opening(
        adapters.element,
        open_store=open_store,
        writer=adapters.writer,
        catalog=adapters.catalog,
        adopt=adopt,
        on_writing=on_writing,
        on_lost=on_lost,
    )

"""What takes admin's steps."""

from __future__ import annotations

from datetime import timedelta

from storage_server.settings import StorageSettings
from storage_server.steps.arriving import Arriving
from storage_server.steps.collecting import Collecting
from storage_server.steps.element_steps import ElementSteps
from storage_server.steps.keeping import StepsKeeping
from storage_server.steps.moving import Moving
from storage_server.steps.pulling import Pulling, Source
from storage_server.steps.taking import Taking
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.wiring.adapters import Adapters
from storage_server.wiring.files import WiredWriting, wire_erasing


def wire_steps(
    settings: StorageSettings,
    adapters: Adapters,
    writing: WiredWriting,
    uploads: ElementUploads,
    *,
    source: Source,
) -> ElementSteps:
    """The steps of a file's life.

    Args:
        source: reads files from other elements.
    """
    element, catalog = adapters.element, adapters.catalog
    taking = Taking(
        element, catalog, writing.protocol, writing.replay, writing.unbroken, adapters.clock
    )
    arriving = Arriving(element, catalog, uploads.space)
    pulling = Pulling(taking, catalog, arriving, source)
    collecting = Collecting(taking, catalog, writing.purging)
    keeping = StepsKeeping(
        taking,
        arriving,
        pulling,
        idle_for=timedelta(days=settings.upload_idle_days),
        lapse_after=timedelta(seconds=settings.upload_lapse_seconds),
    )
    erasing = wire_erasing(adapters, writing, uploads)
    return ElementSteps(pulling, Moving(taking), collecting, erasing, keeping)

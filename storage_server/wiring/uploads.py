"""What makes files of bytes that come in."""

from __future__ import annotations

from datetime import timedelta

from storage_server.element.space import Space
from storage_server.settings import StorageSettings
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.uploads.intake import Intake
from storage_server.uploads.keeping import UploadKeeping
from storage_server.uploads.open_uploads import OpenUploads
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.quotas import Quotas, Terms
from storage_server.uploads.reserving import Elsewhere, Reserving
from storage_server.uploads.resumable_uploads import Find, ResumableUploads
from storage_server.wiring.adapters import Adapters
from storage_server.wiring.files import WiredWriting, wire_retention


def wire_uploads(
    settings: StorageSettings,
    adapters: Adapters,
    writing: WiredWriting,
    *,
    find: Find,
    elsewhere: Elsewhere,
) -> ElementUploads:
    """Uploads of both kinds.

    Args:
        find: a file in any state, by id.
        elsewhere: what the other elements say of an account.
    """
    element, catalog, unbroken = adapters.element, adapters.catalog, writing.unbroken
    space = Space(element, settings.capacity_bytes)
    idle_for = timedelta(days=settings.upload_idle_days)
    reserving = Reserving(element.element_id, space, elsewhere)
    terms = Terms(wire_retention(settings, adapters), Quotas(adapters.policies))
    parts = UploadParts(
        element, space, reserving, terms, writing.protocol, catalog.uploads, unbroken
    )
    uploads = OpenUploads(parts, catalog.reads, writing.replay)
    resumable = ResumableUploads(parts, uploads, find=find, idle_for=idle_for)
    intake = Intake(
        parts, catalog, uploads, resumable, writing.replay, find=find, clock=adapters.clock
    )
    keeping = UploadKeeping(
        parts,
        uploads,
        idle_for=idle_for,
        lapse_after=timedelta(seconds=settings.upload_lapse_seconds),
    )
    return ElementUploads(space, reserving, intake, resumable, keeping, unbroken)

"""What makes files of bytes that come in."""

from __future__ import annotations

from datetime import timedelta

from storage_server.element.space import Space
from storage_server.settings import StorageSettings
from storage_server.uploads.commit import Commit
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.uploads.intake import Intake
from storage_server.uploads.session import SessionParts
from storage_server.uploads.sessions import Find, Sessions
from storage_server.uploads.streaming import UploadParts
from storage_server.wiring.adapters import Adapters
from storage_server.wiring.files import Writing


def wire_uploads(
    settings: StorageSettings, adapters: Adapters, writing: Writing, *, find: Find
) -> ElementUploads:
    """Uploads of both kinds.

    Args:
        find: a file in any state, by id.
    """
    element, catalog, unbroken = adapters.element, adapters.catalog, writing.unbroken
    space = Space(element, settings.capacity_bytes)
    commit = Commit(element, writing.recording, writing.file_locks)
    sessions = Sessions(
        SessionParts(element, space, commit, catalog.uploads, unbroken),
        catalog.reads,
        writing.replay,
        find=find,
        idle_for=timedelta(days=settings.upload_idle_days),
    )
    intake = Intake(
        UploadParts(element, space, commit, unbroken),
        catalog,
        sessions,
        writing.replay,
        find,
        clock=adapters.clock,
    )
    return ElementUploads(space, intake, sessions, unbroken)

"""What is left of an erased file beside the sidecar that says so: removed, however often.

That sidecar lies at a name of its own, and is written first: whatever is cut off after it is found
again from it. Its bytes go before the sidecar that named them; what only a table or Redis still has
goes last, while the row is still there to tell of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from mesh.errors import DataLoss
from storage_server.catalog.port import FileCatalog
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.naming import blob_beside, home_of
from storage_server.domain.sidecar import FileState
from storage_server.sidecars.reading import (
    ReadSidecar,
    can_hold_a_sidecar,
    read_files,
)
from storage_server.store.port import StagedState, Store

ForgetRequest = Callable[[str, str], Awaitable[None]]
"""Forgets which element had the upload of an account's request id; Unavailable when unsure."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Remains:
    """Removes them. The caller holds the file's lock."""

    catalog: FileCatalog
    forget_request: ForgetRequest

    async def remove(
        self, store: Store, file_id: str, keep: str, *, met: Collection[str] = ()
    ) -> None:
        """Remove whatever store, uploads and Redis still have of an erased file.

        Its row, which the caller writes afterwards, is left as it is.

        Args:
            keep: path of the sidecar that says that it was erased.
            met: paths of other sidecars that may be the file's, wherever they lie.

        Raises:
            StoreReadOnly, Unavailable: something may be left; a repeat goes on.
        """
        row = await self.catalog.reads.get(file_id)
        uploads = await self.catalog.uploads.of_file(file_id)
        named = {path for path in met if path != keep}
        if row is not None and can_hold_a_sidecar(row.path):
            named.add(row.path)
        folders = {path.rpartition("/")[0] for path in (keep, *named)}
        folders |= {home} if (home := home_of(file_id)) is not None else set()
        found = await self._found(store, file_id, folders, named)
        others = [
            path
            for one in found
            for path in (one.path, blob_beside(one.path))
            if one.path in named and path != keep
        ]
        await store.erase(file_id, sorted(folders), others=others, keep=keep)
        requests = {(one.sidecar.created_by, one.sidecar.request_id) for one in found}
        requests |= {(one.created_by, one.request_id) for one in uploads}
        if row is not None:
            requests.add((row.sidecar.created_by, row.sidecar.request_id))
        for account, request_id in sorted(requests):
            if request_id:
                await self.forget_request(account, request_id)
        await self._forget_uploads(store, uploads)
        if (pull := await self.catalog.pulls.get(file_id)) is not None:
            await _discard(store, pull.stage, pull.path)
            await self.catalog.pulls.delete(file_id)

    async def _found(
        self, store: Store, file_id: str, folders: set[str], named: set[str]
    ) -> Sequence[ReadSidecar]:
        """The file's sidecars that can be read."""
        paths = {path for one in folders for path in await store.find_sidecars(file_id, one)}
        read = await read_files(store, sorted(paths | named))
        return [
            one
            for one in read
            if isinstance(one, ReadSidecar)
            and one.sidecar.file_id == file_id
            and one.sidecar.state is not FileState.ERASED
        ]

    async def _forget_uploads(self, store: Store, uploads: Sequence[UploadRow]) -> None:
        for one in uploads:
            await _discard(store, one.stage, one.path)
            await self.catalog.uploads.delete(one.upload_id)


async def _discard(store: Store, stage: StagedState, path: str) -> None:
    if stage.key:
        with suppress(DataLoss):
            await store.discard_stage(stage.key, path)

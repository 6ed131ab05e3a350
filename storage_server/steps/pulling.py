"""A file comes here from another element: INCOMING or COPY, its bytes verified.

    looked at, under the lock        what is here: nothing, a stub, or what was moved away earlier
    on record, room reserved         a crash from here on leaves what a repeat goes on from
    read from the source             hashed while it is written, on record each 64 MiB
    sealed                           size and digests compared with ticket and source
    looked at again, under the lock  then the write protocol: intent, blob in place, sidecar, row
    off the record

What was moved away from here has its bytes still: they are read again, and none come.

One pull of a file at a time, whoever asks; it goes on when its caller leaves, for
`ABANDONED_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from mesh.concurrency.single_flight import SingleFlight
from mesh.contract import CHUNK_BYTES
from mesh.elements.damaged import damaged
from mesh.errors import ArtStoreError, DataLoss, FailedPrecondition, Unavailable
from storage_server.catalog.port import FileCatalog
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.life import arrived
from storage_server.domain.naming import file_id_in_name, folder_of, home_of, storage_filename
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.sidecars.locate import locate, locate_blob
from storage_server.sidecars.reading import ReadSidecar
from storage_server.steps.arriving import Arriving, ArrivingStage
from storage_server.steps.pull import Order, Pull
from storage_server.steps.taking import Decided, Taking, require_bytes
from storage_server.store.digest import RunningDigest
from storage_server.store.port import Store
from storage_server.writing.protocol import HeldFile
from storage_server.writing.view import FileView

TELL_SECONDS = 1.0
_PULLED_OVER = frozenset({FileState.GONE, FileState.MOVED})

_log = structlog.stdlib.get_logger(__name__)


class Incoming(Protocol):
    """See `storage_server.peers.sources.Reading`."""

    @property
    def sidecar(self) -> Sidecar: ...

    async def next(self) -> bytes: ...


class Source(Protocol):
    """See `storage_server.peers.sources.Sources`."""

    def reading(
        self, source: str, file_id: str, ticket: str, *, offset: int, length: int | None = None
    ) -> AbstractAsyncContextManager[Incoming]: ...


@dataclass(frozen=True, slots=True)
class _Came:
    """A file whose bytes are here.

    Attributes:
        home: the sidecar that it was read by.
        placed: folder and name of its blob here.
        stage: where they are; None when they have been in place all the time.
    """

    home: Sidecar
    placed: tuple[str, str]
    stage: ArrivingStage | None


class Pulling:
    """Pulls files.

    Args:
        source: reads from other elements.
    """

    def __init__(
        self, taking: Taking, catalog: FileCatalog, arriving: Arriving, source: Source
    ) -> None:
        self._taking = taking
        self._catalog = catalog
        self._arriving = arriving
        self._source = source
        self._pulls: dict[str, Pull] = {}
        self._flights = SingleFlight[str, FileView]()

    def is_under_way(self, file_id: str) -> bool:
        """Whether the file is being pulled now."""
        return file_id in self._flights

    async def pull(self, order: Order) -> AsyncGenerator[int | FileView, None]:
        """How many bytes are here, about once a second, and last the file here.

        Raises: as `Taking.checked`.
            FailedPrecondition: the mode takes no new files, or something else is here.
            Aborted: another pull of the file is under way, or reason REVISION_CONFLICT.
            DataLoss: the bytes differ from the ticket. PermissionDenied: the source refuses it.
            ResourceExhausted: no room.
            Unavailable: the source, storage or database; ask again to go on.
        """
        order = replace(order, step=self._taking.checked(order.step))
        flight = self._joined(order)
        pull, told = self._pulls[order.file_id], -1
        with pull.waited_for():
            while not (await asyncio.wait({flight}, timeout=TELL_SECONDS))[0]:
                if pull.copied_bytes != told:
                    told = pull.copied_bytes
                    yield told
            if flight.cancelled():
                raise Unavailable("this process stops, or writes no more; ask again to go on")
            yield flight.result()

    async def give_up(self, step: Decided) -> int:
        """Nobody goes on with the pull of a file: leave nothing of it, and answer how many bytes
        were on record.

        Raises: as `Taking.checked`; Aborted: reason REVISION_CONFLICT.
            Unavailable: it is under way still, or what it sent may still arrive; ask again.
        """
        return await self._taking.unbroken.run(self._give_up(self._taking.checked(step)))

    async def stop(self) -> None:
        """End all pulls; what came stays on record."""
        await self._flights.stop()

    # --- inside ------------------------------------------------------------------------

    def _joined(self, order: Order) -> asyncio.Task[FileView]:
        file_id = order.file_id
        flight = self._flights.get(file_id)
        if flight is not None:
            self._pulls[file_id].renew(order)
            return flight
        pull = self._pulls[file_id] = Pull(order)
        return self._flights.join(file_id, lambda: self._run(pull))

    async def _give_up(self, step: Decided) -> int:
        file_id, taking = step.file_id, self._taking
        store = taking.element.writing()
        async with taking.writing.hold(file_id) as held:
            step.require_digest(await taking.look(store, held, file_id))
            taking.writing.require_fresh(step.freshness)
            if (pull := self._pulls.get(file_id)) is not None:
                pull.abandon()
                raise Unavailable("the pull that is given up is under way; ask again")
            row = await self._catalog.pulls.get(file_id)
            if row is None:
                return 0
            if await taking.replay.awaits(store, file_id, row.touched_at):
                raise Unavailable("what was sent of the pull may still arrive; ask again")
            await self._arriving.drop(store, row)
            return row.stage.committed_size_bytes

    async def _run(self, pull: Pull) -> FileView:
        try:
            return await self._pull(pull)
        finally:
            if self._pulls.get(pull.order.file_id) is pull:
                del self._pulls[pull.order.file_id]

    async def _pull(self, pull: Pull) -> FileView:
        store = self._taking.element.writing()
        file_id = pull.order.file_id
        async with self._taking.writing.hold(file_id) as held:
            found = await self._look(store, held, pull)
            if isinstance(found, FileView):
                with suppress(ArtStoreError):
                    await self._arriving.forget(store, file_id)
                return found
            self._taking.element.require_creating()
            if found is not None and found.sidecar.state is FileState.GONE:
                await self._clear(store, found.sidecar)
        if found is not None and found.sidecar.state is FileState.MOVED:
            return await self._back_again(store, pull, found)
        return await self._bytes(store, pull, found)

    async def _look(
        self, store: Store, held: HeldFile, pull: Pull
    ) -> ReadSidecar | FileView | None:
        """What is here to be pulled over; the file itself if it has come already.

        Raises:
            Aborted: reason REVISION_CONFLICT. FailedPrecondition: something else is here.
            DataLoss: what has come already is not what the ticket says.
        """
        order = pull.order
        found = await self._taking.look(store, held, order.file_id)
        if found is None:
            order.step.require_digest(None)
            return None
        sidecar = found.sidecar
        if sidecar.state in (FileState.COPY, order.state):
            order.check_source(sidecar)
            await require_bytes(store, sidecar)
            pull.copied_bytes = sidecar.size_bytes
            return await self._taking.as_is(found)
        if sidecar.state not in _PULLED_OVER:
            raise FailedPrecondition(
                f"file {sidecar.file_id} is {sidecar.state.value} here and cannot be pulled over",
                reason="FILE_STATE",
                metadata={"state": sidecar.state.value},
            )
        order.step.require_digest(found)
        return found

    async def _bytes(self, store: Store, pull: Pull, found: ReadSidecar | None) -> FileView:
        """Read them from the source, from where an earlier try broke off; none are here."""
        order = pull.order
        offset = await self._arriving.recorded_bytes(order.file_id, order.ticket.sha256)
        arriving: ArrivingStage | None = None
        try:
            while True:
                async with self._reading(pull, offset=offset) as reading:
                    home = reading.sidecar
                    order.check_source(home)
                    placed = _placed(home, found)
                    if arriving is None:
                        arriving = await self._arriving.open(
                            store,
                            order.file_id,
                            placed,
                            sha256=order.ticket.sha256,
                            size_bytes=order.ticket.size_bytes,
                        )
                    if arriving.stage.offset == offset:
                        await _receive(pull, reading, arriving)
                        break
                # The store has less, or more, than was on record.
                offset = arriving.stage.offset
        except BaseException:
            if arriving is not None:
                await self._put_away(store, order.file_id, arriving)
            raise
        came = _Came(home, placed, arriving)
        return await self._taking.unbroken.run(self._make(store, pull, came))

    async def _make(self, store: Store, pull: Pull, came: _Came) -> FileView:
        """All bytes are here: make the file, and close their stage."""
        file_id, stage = pull.order.file_id, came.stage
        assert stage is not None
        try:
            try:
                await stage.stage.seal(lambda blob: pull.order.check_blob(blob, came.home))
            except DataLoss:
                async with self._taking.writing.hold(file_id):
                    await stage.discard(store)
                raise
            view = await self._commit(store, pull, came)
        finally:
            await self._put_away(store, file_id, stage)
        with suppress(ArtStoreError):
            await self._arriving.end(file_id)
        return view

    async def _put_away(self, store: Store, file_id: str, arriving: ArrivingStage) -> None:
        """Keep what came for the next try; of a file that was erased here meanwhile nothing."""
        async with self._taking.writing.hold(file_id):
            with suppress(ArtStoreError):
                found = await locate(store, file_id)
                if found is not None and found.is_erased:
                    await arriving.erase(store, keep=found.path)
            await arriving.keep()

    async def _commit(self, store: Store, pull: Pull, came: _Came) -> FileView:
        """The bytes are known to be right: write the file, over what is here by now.

        Raises: as `_look`; Aborted: reason STALE; nobody waits for it or orders it any more.
        """
        order, element = pull.order, self._taking.element
        async with self._taking.writing.hold(order.file_id) as held:
            pull.require_wanted()
            element.require_open_uploads()
            element.require_writes()
            found = await self._look(store, held, pull)
            if isinstance(found, FileView):
                if came.stage is not None:
                    await came.stage.discard(store)
                return found
            over = None if found is None else found.sidecar
            if came.stage is None and (over is None or over.state is not FileState.MOVED):
                raise Unavailable("its bytes have gone from here meanwhile; ask again")
            self._taking.writing.require_fresh(order.step.freshness)
            sidecar = arrived(came.home, order.state, came.placed, datetime.now(UTC), over=over)
            kind = ChangeKind.CREATED if found is None else ChangeKind.UPDATED
            async with held.begin(store, sidecar, kind, by=order.step.by, over=found) as write:
                if came.stage is not None:
                    await came.stage.stage.place()
                await write.sidecar(sidecar)
                if came.stage is not None:
                    came.stage.settle(sidecar.size_bytes)
                return await write.row()

    async def _back_again(self, store: Store, pull: Pull, found: ReadSidecar) -> FileView:
        """It was moved away from here, and its bytes are here still: they are read again.

        Raises:
            DataLoss: they are gone or damaged.
        """
        async with self._reading(pull, offset=0, length=0) as reading:
            home = reading.sidecar
        pull.order.check_source(home)
        path = await locate_blob(store, found.sidecar)
        if path is None:
            raise DataLoss(
                f"the bytes of {pull.order.file_id} are missing here", reason="BLOB_MISSING"
            )
        digest = RunningDigest()
        size = found.sidecar.size_bytes
        try:
            async for data in store.read_blob(path, offset=0, length=size, chunk_size=CHUNK_BYTES):
                await asyncio.to_thread(digest.update, data)
                pull.copied_bytes = digest.size_bytes
                pull.require_wanted()
        except DataLoss as exc:
            here = self._taking.element.element_id
            raise damaged(pull.order.file_id, here, exc) from exc
        pull.order.check_blob(digest.result(), home)
        came = _Came(home, _placed(home, found), None)
        return await self._taking.unbroken.run(self._commit(store, pull, came))

    def _reading(
        self, pull: Pull, *, offset: int, length: int | None = None
    ) -> AbstractAsyncContextManager[Incoming]:
        order = pull.order
        return self._source.reading(
            order.ticket.source, order.file_id, order.raw, offset=offset, length=length
        )

    async def _clear(self, store: Store, stub: Sidecar) -> None:
        """Remove bytes that a step that was cut off has left beside a stub."""
        path = await locate_blob(store, stub)
        pulled = await self._catalog.pulls.get(stub.file_id)
        if path is not None and (pulled is None or pulled.path != path):
            await store.delete_blob(path)


async def _receive(pull: Pull, reading: Incoming, arriving: ArrivingStage) -> None:
    """Take all that the source sends.

    Raises:
        DataLoss: it is more, or less, than the ticket says.
    """
    size = pull.order.ticket.size_bytes
    pull.copied_bytes = arriving.stage.offset
    while data := await reading.next():
        pull.require_wanted()
        if arriving.stage.offset + len(data) > size:
            raise DataLoss("more bytes came than the ticket says", reason="SIZE_MISMATCH")
        await arriving.append(data)
        pull.copied_bytes = arriving.stage.offset
    if arriving.stage.offset < size:
        raise Unavailable("the source ended early; ask again to go on")


def _placed(home: Sidecar, found: ReadSidecar | None) -> tuple[str, str]:
    """Folder and name of the blob here: as it was here before, as at its home, or by the rule.

    A name without the file's id, as adopted stores have them, may be another file's here.
    """
    if found is not None:
        return found.sidecar.storage_path, found.sidecar.storage_filename
    folder = home_of(home.file_id) or folder_of(home.created_at)
    at_home = home.storage_path == folder and file_id_in_name(home.storage_filename) == home.file_id
    if at_home:
        return folder, home.storage_filename
    name = storage_filename(home.original_filename, home.created_by, home.created_at, home.file_id)
    return folder, name

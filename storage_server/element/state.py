"""What this process knows of its element, and what it may do with it now."""

from __future__ import annotations

import asyncio
import time

from mesh.concurrency.bell import Bell
from mesh.errors import ArtStoreError, FailedPrecondition, StoreReadOnly, Unavailable
from storage_server.domain.modes import Mode, Operation, allows, require
from storage_server.element.identity import ElementFile, read
from storage_server.store.port import Store

INTERVAL_SECONDS = 1.0
SILENCE_SECONDS = 4.0


class Element:
    """One per process. `storage_server.element.opening` brings it up and keeps it up.

    Attributes:
        mode: as in `element.json`.
        store_id: of the store in use, empty until it was read.
        epoch: of the change feed, empty until the tables were opened.
        is_writer: this process is the one that writes.
        tables_ready: the tables are there.
        writing_ready: what a writer must know of earlier writers has been loaded.
        write_error: why the store takes no writes, as last tried; None when it does.
        changed: set when others should hear of a change at once.
    """

    def __init__(self, element_id: str, mode: Mode) -> None:
        self.element_id = element_id
        self.mode = mode
        self.store_id = ""
        self.epoch = ""
        self.is_writer = False
        self.tables_ready = False
        self.writing_ready = False
        self.write_error: ArtStoreError | None = None
        self.changed = Bell()
        self._store: Store | None = None
        self._problem = "the store is not open yet"
        self._drain_until = 0.0

    # --- what is there ---------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store, proved lately to be this element's.

        Raises:
            Unavailable: it is down, not mounted, or another element's.
        """
        if self._store is None or self._problem:
            raise self._down()
        return self._store

    def require_answering(self) -> None:
        """Raise Unavailable unless the store answered when last asked."""
        if not self.storage_ok:
            raise self._down()

    def _down(self) -> Unavailable:
        return Unavailable(
            f"storage of {self.element_id} is not available: {self._problem}",
            reason="STORAGE_DOWN",
        )

    @property
    def storage_ok(self) -> bool:
        """Whether the store answered and was this element's when last asked."""
        return self._store is not None and not self._problem

    @property
    def backend(self) -> str:
        """`local`, `s3`, or empty before the first opening."""
        return self._store.backend if self._store is not None else ""

    def require_tables(self) -> None:
        """Raise Unavailable until the element's tables are there."""
        if not self.tables_ready:
            raise Unavailable(
                f"the tables of {self.element_id} are not ready", reason="DATABASE_DOWN"
            )

    def require_writer(self) -> Store:
        """The store, for a write.

        Raises:
            Unavailable: storage or tables are down, or this process is a standby.
        """
        store = self.store
        if not self.is_writer:
            raise Unavailable(
                f"this process does not write {self.element_id}: another one does, "
                "or the lock cannot be asked for",
                reason="NOT_WRITER",
            )
        self.require_tables()
        if not self.writing_ready:
            raise Unavailable(f"{self.element_id} is starting", reason="STARTING")
        return store

    def require_writes(self) -> None:
        """Raise StoreReadOnly while the store is known to read and not to write.

        On one that is full or silent a change is tried: it may succeed, and its own error tells.
        """
        if isinstance(self.write_error, StoreReadOnly):
            raise StoreReadOnly(
                f"{self.element_id} takes no writes: {self.write_error.message}; "
                "its files can be read, and `artstore elements` shows when it writes again"
            )

    def require_creating(self) -> None:
        """Raise unless the mode and the store take a new upload now.

        Raises:
            FailedPrecondition: the mode does not; StoreReadOnly: the store does not.
            ResourceExhausted, Unavailable: the last attempt to write failed so.
        """
        self.require(Operation.CREATE)
        self.require_writes()
        error = self.write_error
        if error is not None:
            raise type(error)(
                f"{self.element_id} takes no uploads: {error.message}", reason=error.reason
            )

    async def watch(self) -> None:
        """Look at the store once a second until cancelled; silence counts as down."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self.prove()
            except TimeoutError:
                self.fail("it does not answer")
            except ArtStoreError:
                # Remembered by `prove`.
                pass
            await asyncio.sleep(INTERVAL_SECONDS)

    async def is_serving(self) -> bool:
        """For the health of StorageService: whether the storage is up."""
        return self.storage_ok

    async def prove(self) -> None:
        """Read `element.json` now, and remember what came of it.

        Whoever concludes that a file is gone asks this first: an unmounted folder is a
        complete and empty listing.

        Raises:
            Unavailable: the store is down, missing or foreign.
        """
        if self._store is None:
            raise Unavailable(self._problem, reason="STORAGE_DOWN")
        try:
            found = await read(self._store, self.element_id)
        except Unavailable as exc:
            self.fail(exc.message)
            raise
        if self.store_id and found.store_id != self.store_id:
            self.fail("another store of the element was mounted; restart the server")
            raise Unavailable(self._problem, reason="STORAGE_DOWN")
        if not self.is_writer:
            self._set_mode(found.mode)
        self._recover()

    # --- what changes it -------------------------------------------------------------

    def opened(self, store: Store, identity: ElementFile) -> None:
        """The store is open and this element's."""
        self._store = store
        self.store_id = identity.store_id
        self._set_mode(identity.mode)
        self._recover()

    def closed(self, problem: str) -> None:
        """The store is closed."""
        self._store = None
        self.is_writer = self.writing_ready = False
        self.fail(problem)

    def fail(self, problem: str) -> None:
        """The store cannot be used now; `problem` says why."""
        if self._problem != problem:
            self._problem = problem
            self.changed.ring()

    def note_write(self, error: ArtStoreError | None) -> None:
        """A write was tried: None when the store took it, else why not."""
        before, self.write_error = self.write_error, error
        if (before and before.message) != (error and error.message):
            self.changed.ring()

    @property
    def problem(self) -> str:
        """Why the store cannot be used now; empty when it can."""
        return self._problem

    def _recover(self) -> None:
        if self._problem:
            self._problem = ""
            self.changed.ring()

    # --- mode ------------------------------------------------------------------------

    def require(self, operation: Operation) -> None:
        """Raise FailedPrecondition unless the mode allows `operation`."""
        require(self.mode, operation)

    def require_open_uploads(self) -> None:
        """Raise FailedPrecondition unless uploads that are open may go on."""
        if not allows(self.mode, Operation.CREATE) and time.monotonic() >= self._drain_until:
            raise FailedPrecondition(
                f"the storage element went to mode {self.mode.value} and its open uploads "
                "had their time",
                reason="MODE",
                metadata={"mode": self.mode.value},
            )

    @property
    def drain_seconds_left(self) -> float:
        """How long open uploads may still commit in a mode that takes no new ones."""
        return max(0.0, self._drain_until - time.monotonic())

    def enter_mode(self, mode: Mode, drain_seconds: float) -> None:
        """`element.json` has the new mode; open uploads have `drain_seconds` to commit."""
        self._drain_until = time.monotonic() + drain_seconds
        self._set_mode(mode)

    def _set_mode(self, mode: Mode) -> None:
        if self.mode is not mode:
            self.mode = mode
            self.changed.ring()

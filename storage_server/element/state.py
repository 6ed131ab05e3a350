"""What this process knows of its element, and what it may do with it now."""

from __future__ import annotations

import asyncio
import time

from mesh.concurrency.bell import Bell
from mesh.errors import ArtStoreError, FailedPrecondition, StoreReadOnly, Unavailable
from storage_server.domain.modes import Action, Mode, allows, require
from storage_server.element.identity import read
from storage_server.element.phase import Move, Phase, Standing
from storage_server.store.port import Store

INTERVAL_SECONDS = 1.0
SILENCE_SECONDS = 4.0


class Element:
    """One per process. `storage_server.element.opening` brings it up and keeps it up.

    Readers ask `reading` or `writing` for the store, or `require_tables` where rows will do.

    Args:
        mode: of an element that is new.

    Attributes:
        mode: as in `element.json`; until that was read, as for a new element.
        store_id: of the store in use, empty until it was read.
        peers: ids of the other elements, as in `element.json`.
        file_turn: whoever writes `element.json` has it.
        write_error: why the store takes no writes, as last tried; None when it does.
        changed: set when others should hear of a change at once.
    """

    def __init__(self, element_id: str, mode: Mode) -> None:
        self.element_id = element_id
        self.mode = mode
        self.store_id = ""
        self.peers: tuple[str, ...] = ()
        self.file_turn = asyncio.Lock()
        self.write_error: ArtStoreError | None = None
        self.changed = Bell()
        self._standing = Standing()
        self._has_mover = False
        self._store: Store | None = None
        self._problem = "the store is not open yet"
        self._drain_until = 0.0

    # --- how far it is up ------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """How far the element is up; the opening moves it."""
        return self._standing.phase

    @property
    def is_writer(self) -> bool:
        """Whether this process has the writer's lock; it may not be ready to write yet."""
        return self._standing.is_writer

    def reading(self) -> Store:
        """The store, proved lately to be this element's.

        Raises:
            Unavailable: reason STORAGE_DOWN; it is down, not mounted, or another element's.
        """
        if self._store is None or self._problem:
            raise Unavailable(
                f"storage of {self.element_id} is not available: {self._problem}",
                reason="STORAGE_DOWN",
            )
        return self._store

    def writing(self) -> Store:
        """The store, for a write.

        Raises:
            Unavailable: reason STORAGE_DOWN, NOT_WRITER, DATABASE_DOWN or STARTING.
        """
        store = self.reading()
        if not self.is_writer:
            raise Unavailable(
                f"this process does not write {self.element_id}: another one does, "
                "or the lock cannot be asked for",
                reason="NOT_WRITER",
            )
        self.require_tables()
        if self.phase is not Phase.WRITING:
            raise Unavailable(f"{self.element_id} is starting", reason="STARTING")
        return store

    def require_tables(self) -> None:
        """Raise Unavailable, reason DATABASE_DOWN, unless the element's tables are there."""
        if not self._standing.has_tables:
            raise Unavailable(
                f"the tables of {self.element_id} are not ready", reason="DATABASE_DOWN"
            )

    # --- what the store is like ------------------------------------------------------

    @property
    def storage_ok(self) -> bool:
        """Whether the store answered and was this element's when last asked."""
        return self._store is not None and not self._problem

    @property
    def problem(self) -> str:
        """Why the store cannot be used now; empty when it can."""
        return self._problem

    @property
    def backend(self) -> str:
        """`local`, `s3`, or empty before the first opening."""
        return self._store.backend if self._store is not None else ""

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
        self.require(Action.CREATE)
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
                self._fail("it does not answer")
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
            self._fail(exc.message)
            raise
        if self.store_id and found.store_id != self.store_id:
            self._fail("another store of the element was mounted; restart the server")
            raise Unavailable(self._problem, reason="STORAGE_DOWN")
        if not self.is_writer:
            self._set_mode(found.mode)
            self.peers = found.peers
        self._recover()

    def note_write(self, error: ArtStoreError | None) -> None:
        """A write was tried: None when the store took it, else why not."""
        before, self.write_error = self.write_error, error
        if (before and before.message) != (error and error.message):
            self.changed.ring()

    def note_peers(self, peers: tuple[str, ...]) -> None:
        """`element.json` names these other elements."""
        self.peers = peers

    def _fail(self, problem: str) -> None:
        if self._problem != problem:
            self._problem = problem
            self.changed.ring()

    def _recover(self) -> None:
        if self._problem:
            self._problem = ""
            self.changed.ring()

    # --- mode ------------------------------------------------------------------------

    def require(self, action: Action) -> None:
        """Raise FailedPrecondition unless the mode allows `action`."""
        require(self.mode, action)

    def require_open_uploads(self) -> None:
        """Raise FailedPrecondition unless uploads that are open may go on."""
        if not allows(self.mode, Action.CREATE) and time.monotonic() >= self._drain_until:
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

    # --- for `storage_server.element.moves` ------------------------------------------

    def _take_mover(self) -> None:
        if self._has_mover:
            raise RuntimeError("the phase of an element is moved by its opening alone")
        self._has_mover = True

    def _move(self, move: Move) -> None:
        before, self._standing = self._standing, self._standing.after(move)
        if self._standing != before:
            self.changed.ring()

"""Moving an element's phase: for the opening alone, and a test sees to that."""

from __future__ import annotations

from storage_server.element.identity import ElementFile
from storage_server.element.phase import Move, Standing
from storage_server.element.state import Element
from storage_server.store.port import Store


class Moves:
    """The moves of one element's phase; `storage_server.element.phase` has their table.

    Made once for each element, by its opening. Each move raises RuntimeError where the table
    refuses it.

    Raises:
        RuntimeError: the element has them already.
    """

    def __init__(self, element: Element) -> None:
        element._take_mover()
        self._element = element

    @property
    def standing(self) -> Standing:
        """Where the element is."""
        return self._element._standing

    def store_opened(self, store: Store, identity: ElementFile) -> None:
        """The store is open and this element's."""
        element = self._element
        element._move(Move.STORE_OPENED)
        element._store = store
        element.store_id = identity.store_id
        element.peers = identity.peers
        element._set_mode(identity.mode)
        element._recover()

    def store_closed(self, problem: str) -> None:
        """The store is closed, or could not be opened; `problem` says why."""
        element = self._element
        element._move(Move.STORE_CLOSED)
        element._store = None
        element._fail(problem)

    def lock_taken(self) -> None:
        """This process is the one that writes."""
        self._element._move(Move.LOCK_TAKEN)

    def lock_lost(self) -> None:
        """It is not any more."""
        self._element._move(Move.LOCK_LOST)

    def tables_found(self) -> None:
        """The tables are there, all of them."""
        self._element._move(Move.TABLES_FOUND)

    def tables_gone(self) -> None:
        """One of them is missing."""
        self._element._move(Move.TABLES_GONE)

    def past_known(self) -> None:
        """What earlier writers left has been loaded: writes may come."""
        self._element._move(Move.PAST_KNOWN)

"""The store that the element has open at the time of each call."""

from __future__ import annotations

from typing import Any, cast

from storage_server.element.state import Element
from storage_server.store.port import Store


class _LiveStore:
    def __init__(self, element: Element) -> None:
        self._element = element

    def __getattr__(self, name: str) -> Any:
        return getattr(self._element.store, name)


def live_store(element: Element) -> Store:
    """A store for work that is wired before the element's own is open.

    Each call raises Unavailable while the storage is down, missing or foreign.
    """
    return cast(Store, _LiveStore(element))

"""Which storage elements there are and where: as the caller configured them and as admin lists."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from artstore.v1 import elements_pb2
from artstore_client import errors

# For the address of an element that is silent, a list of so long ago is good enough.
FRESH_SECONDS = 1.0
# After admin did not answer it is left alone for a moment.
REST_SECONDS = 3.0

AskAdmin = Callable[[], Awaitable[Sequence[elements_pb2.StorageElement]]]


class ElementDirectory:
    """The elements known now. Admin is asked by one task at a time, and only when it matters.

    Args:
        pinned: id to host:port as the caller said it; stays known, and goes before admin's word.
        seeds: id to host:port as mesh.json says; stays known, and admin's word goes before it.
        ask: lists the elements at admin; None when admin is not configured.
        about_settings: a sentence about settings that were found and are not used, "" if none.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        pinned: Mapping[str, str],
        seeds: Mapping[str, str],
        ask: AskAdmin | None,
        about_settings: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pinned = dict(pinned)
        self._seeds = dict(seeds)
        self._ask = ask
        self._about_settings = about_settings
        self._clock = clock
        self._turn = asyncio.Lock()
        self._listed: dict[str, elements_pb2.StorageElement] = {}
        self._listed_at = float("-inf")
        self._rests_until = float("-inf")
        self._silent: dict[str, str] = {}
        self.doubt = ""
        """Why admin's list may not be that of now; empty when it was got at the last try."""

    async def known(self) -> dict[str, str]:
        """Element id to host:port; admin is asked only while nothing is known.

        Raises:
            ConfigurationError: nothing is configured, and admin lists none.
            Unavailable: nothing is configured, and admin did not answer.
        """
        if not self._ids():
            await self.look()
        if not self._ids() and self.doubt:
            raise errors.Unavailable(f"no storage element is known: {self.doubt}")
        if not self._ids():
            raise errors.ConfigurationError(
                "no storage element is known: set ARTSTORE_STORAGE_ENDPOINTS or start the mesh."
                f" {self._about_settings}".rstrip(" .")
            )
        return {element_id: self.place(element_id) for element_id in sorted(self._ids())}

    async def look(self, max_age_seconds: float = 0.0) -> None:
        """Have admin's list, asked for no longer ago than that; `doubt` tells if it can't be had.

        Raises:
            Unauthenticated, ConfigurationError: of the account itself.
        """
        if self._ask is None:
            return
        asked_at = self._clock()
        async with self._turn:
            now = self._clock()
            if self._listed_at >= asked_at - max_age_seconds or now < self._rests_until:
                return
            try:
                elements = await self._ask()
            except (errors.Unauthenticated, errors.ConfigurationError):
                raise
            except errors.ArtStoreError as error:
                self._rests_until = self._clock() + REST_SECONDS
                self.doubt = f"admin did not list the elements: {error.message}"
                return
            self._listed = {element.storage_element_id: element for element in elements}
            self._listed_at, self.doubt = now, ""

    async def find(self, element_id: str) -> str:
        """host:port of the element; admin is asked if it is not known.

        Raises:
            ConfigurationError: no such element.
            Unavailable: it is not known, and admin did not tell.
        """
        if element_id not in self._ids():
            await self.look()
        if element_id in self._ids():
            return self.place(element_id)
        if self.doubt:
            raise errors.Unavailable(
                f"storage element {element_id!r} is not known here, and {self.doubt}",
                reason="ELEMENT_UNKNOWN",
                metadata={"storage_element_ids": element_id},
            )
        known = ", ".join(sorted(self._ids()))
        raise errors.ConfigurationError(f"no storage element {element_id!r}; known are {known}")

    async def other_place(self, element_id: str, tried: str) -> str:
        """Another address of an element that did not answer at `tried`; empty if there is none."""
        await self.look(FRESH_SECONDS)
        self._silent[element_id] = tried
        found = self.place(element_id)
        return found if found != tried else ""

    def place(self, element_id: str) -> str:
        """host:port to try first; empty for an element that is not known."""
        places = self._places(element_id)
        silent = self._silent.get(element_id)
        return next((place for place in places if place != silent), "".join(places[:1]))

    def last_report(self, element_id: str) -> elements_pb2.StorageElement | None:
        """The element as admin last listed it."""
        return self._listed.get(element_id)

    def _ids(self) -> set[str]:
        return self._pinned.keys() | self._seeds.keys() | self._listed.keys()

    def _places(self, element_id: str) -> list[str]:
        """Its addresses, the most trusted first."""
        listed = self._listed.get(element_id)
        places = (
            self._pinned.get(element_id, ""),
            listed.endpoint if listed is not None else "",
            self._seeds.get(element_id, ""),
        )
        return list(dict.fromkeys(filter(None, places)))

"""Files as their elements have them, asked for on behalf of a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from artstore.v1 import downloads_pb2
from artstore.v1.types_pb2 import File
from mesh.elements.view import ElementView
from mesh.follower.lookups import ElementMetadata
from mesh.identity.caller import Caller
from mesh.identity.credentials import ElementTokens
from query_server.files.asking import Elements
from query_server.files.downloads import Downloads, Progress


@dataclass(frozen=True, slots=True)
class Originals:
    """What the index has only a copy of, or not at all."""

    elements: Elements
    downloads: Downloads
    view: ElementView
    tokens: ElementTokens

    async def find(
        self, file_id: str, caller: Caller, *, but: Collection[str] = ()
    ) -> tuple[str, File]:
        """(element id, description) of a file; see `Elements.find`."""
        return await self.elements.find(file_id, metadata=self._as(caller), but=but)

    def stream(
        self, progress: Progress, homes: Sequence[str], caller: Caller
    ) -> AsyncIterator[downloads_pb2.DownloadResponse]:
        """What is left of a download, from the first of `homes` that gives it; see
        `Downloads.stream`.
        """
        return self.downloads.stream(
            progress,
            elements=homes,
            endpoints=self.view.endpoints(),
            metadata=self._as(caller),
        )

    def _as(self, caller: Caller) -> ElementMetadata:
        """Metadata of a call of an element on behalf of `caller`."""
        return partial(self.tokens.metadata, on_behalf_of=caller)

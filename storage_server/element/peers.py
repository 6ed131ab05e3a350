"""The other elements of the mesh, kept in `element.json`: admin's tables may be lost, and until all
of these have reported anew it takes nothing for gone.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from mesh.elements.seen import ELEMENT_ID
from mesh.errors import ArtStoreError
from storage_server.element.identity import ElementFile, encode
from storage_server.element.phase import Phase
from storage_server.element.state import Element

_log = structlog.stdlib.get_logger(__name__)


async def keep_peers(element: Element, told: Iterable[str]) -> None:
    """Keep what admin tells. An admin that tells none says nothing; one that cannot be kept now is
    told again at the next report.
    """
    peers = tuple(sorted({one for one in told if ELEMENT_ID.fullmatch(one)}))
    if not peers or peers == element.peers or element.phase is not Phase.WRITING:
        return
    try:
        async with element.file_turn:
            store = element.writing()
            element.require_writes()
            await store.write_element(
                encode(ElementFile(element.element_id, element.store_id, element.mode, peers))
            )
            element.note_peers(peers)
    except ArtStoreError as exc:
        _log.info("other elements not kept yet", element=element.element_id, reason=exc.message)
    else:
        _log.info("other elements kept", element=element.element_id, peers=len(peers))

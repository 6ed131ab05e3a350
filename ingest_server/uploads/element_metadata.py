"""Metadata of ingest's calls of elements: its own token, and on whose behalf it calls."""

from __future__ import annotations

from ingest_server.uploads.element_stream import Metadata
from mesh.contract import REQUEST_ID_KEY
from mesh.identity.caller import current_caller, current_request_id, current_upload_token
from mesh.identity.credentials import ElementTokens


async def metadata_for_element(tokens: ElementTokens, element_id: str) -> Metadata:
    """Metadata that passes the current call on to that element.

    Raises:
        Unavailable: ingest has no valid token for it.
    """
    own = await tokens.metadata(element_id, current_caller(), current_upload_token())
    return (*own, (REQUEST_ID_KEY, current_request_id.get()))

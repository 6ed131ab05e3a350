"""Why a file is changed, and who asked for it: what an audit is told of each change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """As written in the tables; the same words, in capitals, as in the contract.

    CALLER: somebody asked for the change. REPAIR: row and sidecar differed; nobody changed
    anything, and an audit passes it over.
    """

    CALLER = "caller"
    REPAIR = "repair"
    TRANSFER = "transfer"
    COLLECTION = "collection"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from.

    Attributes:
        actor: the account on whose behalf it is made; empty when none is.
        request_id: of the call, as its log line has it, not that of an upload's header; at most
            128 bytes.
        reason: what the caller said, at most 200 bytes.
    """

    cause: Cause
    actor: str = ""
    request_id: str = ""
    reason: str = ""


OF_REPAIR = Origin(Cause.REPAIR)

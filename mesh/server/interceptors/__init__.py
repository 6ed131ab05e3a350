"""What happens around every call, one module for each concern, in this order:

request id -> log line -> metrics -> errors -> refusals -> authentication -> authorization
-> admission -> standing -> turns -> its messages are read -> handler.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.identity.call_limits import LimitTable
from mesh.identity.tokens import TokenVerifier
from mesh.server.interceptors.admission import Admission
from mesh.server.interceptors.authentication import Authentication
from mesh.server.interceptors.authorization import authorize
from mesh.server.interceptors.errors import turn_errors_into_statuses
from mesh.server.interceptors.logging import log_call
from mesh.server.interceptors.metrics import CallMetrics
from mesh.server.interceptors.refusal_spool import RefusalSpool
from mesh.server.interceptors.refusals import RefusalNotes
from mesh.server.interceptors.request_ids import give_request_id
from mesh.server.interceptors.standing import Standing
from mesh.server.interceptors.turns import Turns
from mesh.server.interceptors.wrapping import Interceptor, Interceptors

__all__ = ["Interceptors", "standard_interceptors"]


def standard_interceptors(
    verifier: TokenVerifier,
    metrics: CallMetrics,
    refusals: RefusalSpool,
    standing: Standing | None = None,
    limits: LimitTable | None = None,
) -> Interceptors:
    """The interceptors of every ArtStore server, as one for `grpc.aio.server`."""
    table = LimitTable() if limits is None else limits
    chain: Sequence[Interceptor] = (
        give_request_id,
        log_call,
        metrics,
        turn_errors_into_statuses,
        RefusalNotes(refusals),
        Authentication(verifier),
        authorize,
        Admission(table),
        Standing(verifier) if standing is None else standing,
        Turns(),
    )
    return Interceptors(chain, table)

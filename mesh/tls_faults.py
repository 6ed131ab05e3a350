"""Why a connection to a server behind TLS was not made, in words for an operator."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
_REJECTED = "rejected SSL upgrade"


def tls_fault(error: BaseException) -> str:
    """What is wrong with TLS, if `error` or what it came from is about that, else ""."""
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            # As "certificate has expired" and "Hostname mismatch, certificate is not valid for".
            return f"its certificate is refused: {one.verify_message}"
        if isinstance(one, ssl.SSLError):
            if any(sign in str(one) for sign in _PLAIN):
                return "TLS was asked for, and it answers in plain text"
            return f"TLS failed: {one.reason or one}"
        if isinstance(one, ConnectionError) and _REJECTED in str(one):
            return "TLS was asked for, and it offers none"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__

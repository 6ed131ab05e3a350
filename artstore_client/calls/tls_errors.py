"""What failed handshakes mean in words: gRPC tells of them in those of its library."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from urllib.parse import unquote

from artstore_client.settings import TlsFiles

_PLACE = re.compile(r"last error: \w+: (?:ipv4|ipv6|unix):(\S+?): ")
_CLOSED = re.compile(r"last error: \w+: \S+?: .*(Socket closed|reset by peer|Broken pipe)")


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there is no connection.

    Attributes:
        certain: another try would fail as well.
    """

    message: str
    certain: bool


def meaning(details: str, tls: TlsFiles | None) -> Failed | None:
    """What the text of a status says of TLS; None when it says nothing of it.

    Args:
        tls: with what this client verifies, None when it speaks plain text.
    """
    found = _PLACE.search(details)
    server = f"the server at {unquote(found[1])}" if found else "the server"
    if tls is None:
        return _of_plain_text(details, server)
    roots = tls.ca_file or "what this system trusts (ARTSTORE_TLS_CA_FILE names another)"
    certificate = f"the certificate of {server}"
    for sign, message in (
        ("WRONG_VERSION_NUMBER", f"{server} speaks plain text, and this client TLS: see"
         " ARTSTORE_TLS_CA_FILE, ARTSTORE_TLS, https:// in an endpoint and `tls` in mesh.json"),
        ("certificate has expired", f"{certificate} has expired: it must be renewed there"),
        ("not yet valid", f"{certificate} is not yet valid: are the clocks right?"),
        ("Hostname Verification Check failed", f"{certificate} is for other names: use an endpoint"
         " that it names"),
        ("CERTIFICATE_VERIFY_FAILED", f"{certificate} is signed by none of {roots}"),
    ):  # fmt: skip
        if sign in details:
            return Failed(message, certain=True)
    if _CLOSED.search(details):
        return Failed(f"{server} ended the handshake{_of_own_certificate(tls)}", certain=False)
    return None


def _of_plain_text(details: str, server: str) -> Failed | None:
    if not _CLOSED.search(details):
        return None
    return Failed(
        f"{server} ended the connection before a word, as one does that speaks TLS: then set"
        " ARTSTORE_TLS_CA_FILE to its roots, or ARTSTORE_TLS=1 for those of the system",
        certain=False,
    )


def _of_own_certificate(tls: TlsFiles) -> str:
    from artstore_client.calls.tls import client_certificate

    if tls.cert_file is None:
        return (
            ", as one does that asks for a client certificate: then set ARTSTORE_TLS_CERT_FILE and"
            " ARTSTORE_TLS_KEY_FILE"
        )
    own = client_certificate(tls)
    if own is not None and own.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        until = own.not_valid_after_utc.strftime("%Y-%m-%d %H:%M UTC")
        return f": the client certificate {tls.cert_file} has expired ({until})"
    return f", as one does that does not know who signed the client certificate {tls.cert_file}"

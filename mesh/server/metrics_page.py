"""The Prometheus page: on a port of its own, served by threads, with TLS if the server has it."""

from __future__ import annotations

import ssl
from typing import Any

import structlog
from prometheus_client import start_http_server

from mesh.calls.tls import CertificateFiles
from mesh.settings import MeshSettings

# Of a client that is connected and says nothing.
SILENCE_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


class MetricsPage:
    """Opened once; lives as long as the process.

    Args:
        settings: where it listens.
        files: the server's certificate; None for plain text. No client is asked for one of its
            own: what collects metrics rarely has one.
    """

    def __init__(self, settings: MeshSettings, files: CertificateFiles | None) -> None:
        self._settings = settings
        self._files = files
        self._context: ssl.SSLContext | None = None

    def open(self) -> None:
        """Listen, if there is a port for it; that it can't is a warning in the log."""
        port, host = self._settings.listen_metrics_port, self._settings.metrics_host.strip("[]")
        if not port:
            return
        certificate: dict[str, Any] = {}
        if self._files is not None:
            certificate = {
                "certfile": str(self._files.cert_file),
                "keyfile": str(self._files.key_file),
            }
        try:
            server: Any = start_http_server(port, addr=host, **certificate)[0]
        except OSError as exc:
            # Figures are worth less than the service.
            _log.warning("metrics page not served", metrics_port=port, reason=str(exc))
            return
        # What a client does wrong, as to speak plain text, is no error of ours.
        server.handle_error = _ignored
        patience = {"timeout": SILENCE_SECONDS}
        server.RequestHandlerClass = type("Handler", (server.RequestHandlerClass,), patience)
        if self._files is not None:
            self._context = server.socket.context
            # Else one that connects and shakes no hands keeps all others waiting.
            server.socket.do_handshake_on_connect = False

    def renew(self) -> None:
        """Have new connections get the certificate that is in the files now. Blocks shortly."""
        if self._context is not None and self._files is not None:
            assert self._files.cert_file is not None
            self._context.load_cert_chain(self._files.cert_file, self._files.key_file)


def _ignored(*request: object) -> None:
    _log.debug("request for metrics broke off", exc_info=True)

"""TLS, if configured: certificates are read again when their files change."""

from __future__ import annotations

from pathlib import Path

import grpc
import structlog

from mesh.settings import MeshSettings

_log = structlog.stdlib.get_logger(__name__)


class CertificateFiles:
    """Certificate and key on disk, held in memory between changes.

    gRPC asks for them at each handshake on a thread of its own, so `current` never reads;
    `refresh` does, and is called from time to time.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._files = (cert_file, key_file)
        self._stamp: tuple[int, ...] = ()
        self._pair = (b"", b"")
        self.refresh()

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """(certificate chain, private key), PEM."""
        return self._pair

    def refresh(self) -> bool:
        """Read the files if they changed; True if so. Half-written ones are caught next time.

        Raises:
            OSError: a file cannot be read.
        """
        stamp = tuple(file.stat().st_mtime_ns for file in self._files)
        if stamp == self._stamp:
            return False
        cert, key = (file.read_bytes() for file in self._files)
        self._pair = (cert, key)
        self._stamp = stamp
        return True

    def current(self) -> grpc.ServerCertificateConfiguration:
        """What new handshakes are to use."""
        cert, key = self._pair
        return grpc.ssl_server_certificate_configuration([(key, cert)])


def certificate_files(settings: MeshSettings) -> CertificateFiles | None:
    """The configured certificate, or None when the server is to speak plain text."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return CertificateFiles(settings.tls_cert_file, settings.tls_key_file)


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Credentials that follow `files`: old connections live on, new ones get the new pair."""
    return grpc.dynamic_ssl_server_credentials(files.current(), files.current)


def channel_credentials(settings: MeshSettings) -> grpc.ChannelCredentials | None:
    """Credentials for calling other servers; None means plain text.

    TLS is used when this server has a certificate or a root file is named: a mesh is either
    all TLS or none.
    """
    if settings.tls_ca_file is not None:
        return grpc.ssl_channel_credentials(settings.tls_ca_file.read_bytes())
    if settings.tls_cert_file is not None:
        return grpc.ssl_channel_credentials()
    return None

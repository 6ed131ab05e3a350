"""TLS, if configured: certificates are read again when their files change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grpc
import structlog

from mesh.settings import MeshSettings, SettingsError

CHECK_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What was in the files when they last were in order, PEM; None where there is no file.

    Attributes:
        cert: certificate chain.
        key: its private key.
        ca: the authorities that the other side's certificate must come from.
    """

    cert: bytes | None
    key: bytes | None
    ca: bytes | None


class CertificateFiles:
    """Certificate, key and authorities on disk, held in memory between changes.

    gRPC asks for them at each handshake on a thread of its own, so `held` never reads; `refresh`
    does, and is called from time to time.
    """

    def __init__(
        self, cert_file: Path | None, key_file: Path | None, ca_file: Path | None = None
    ) -> None:
        """Read them.

        Raises:
            SettingsError: they cannot be read, or do not belong together.
        """
        self.cert_file, self.key_file, self.ca_file = cert_file, key_file, ca_file
        self._lock = threading.Lock()
        self._stamp = self._look()
        try:
            self._held = self._read()
        except (OSError, ValueError) as exc:
            raise SettingsError(self._told(exc)) from exc

    @property
    def held(self) -> Held:
        """The last ones that were in order; the same object as long as these are."""
        return self._held

    def refresh(self) -> bool:
        """Read the files if they changed; True if others are held now. Blocks for milliseconds.

        Half of a new pair is not taken, nor is what is no certificate: the ones from before are
        used until the files are in order again.
        """
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            try:
                found = self._read()
            except (OSError, ValueError) as exc:
                _log.warning("new certificate not taken", reason=self._told(exc))
                return False
            if stamp != self._look():
                # Written meanwhile: looked at again the next time, whatever is found then.
                self._stamp = ()
                return False
            changed = found != self._held
            self._held = found if changed else self._held
            return changed

    def _look(self) -> tuple[object, ...]:
        """What differs when a file was written or replaced."""
        found: list[object] = []
        for file in (self.cert_file, self.key_file, self.ca_file):
            try:
                seen = file.stat() if file is not None else None
            except OSError as exc:
                found.append(exc.errno)
                continue
            found.append(seen and (seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_dev))
        return tuple(found)

    def _read(self) -> Held:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.cert_file is not None:
            # Also says whether the key is that of the certificate; asks for no passphrase.
            context.load_cert_chain(self.cert_file, self.key_file, password=_no_passphrase)
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        return Held(*(_bytes_of(file) for file in (self.cert_file, self.key_file, self.ca_file)))

    def _told(self, exc: Exception) -> str:
        files = [str(file) for file in (self.cert_file, self.key_file, self.ca_file) if file]
        reason = getattr(exc, "strerror", None) or exc
        return f"certificate, key and authorities ({', '.join(files)}) are not in order: {reason}"


def _bytes_of(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, and there is nobody to ask for it")


def certificate_files(settings: MeshSettings) -> CertificateFiles | None:
    """The configured certificate, or None when the server is to speak plain text.

    Raises:
        SettingsError: the files cannot be read, or do not belong together.
    """
    if settings.tls_cert_file is None:
        return None
    return CertificateFiles(
        settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
    )


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Credentials that follow `files`: old connections live on, new ones get what is held then.

    With authorities for clients, a client without a certificate of theirs is refused.
    """
    given = files.held

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        if files.held is given:
            return None
        given = files.held
        return _configuration(given)

    fetch: Callable[[], grpc.ServerCertificateConfiguration] = changed  # type: ignore[assignment]
    return grpc.dynamic_ssl_server_credentials(
        _configuration(given), fetch, require_client_authentication=files.ca_file is not None
    )


def _configuration(held: Held) -> grpc.ServerCertificateConfiguration:
    assert held.cert is not None
    assert held.key is not None
    return grpc.ssl_server_certificate_configuration(
        [(held.key, held.cert)], root_certificates=held.ca
    )


def channel_files(settings: MeshSettings) -> CertificateFiles | None:
    """What this server calls others with; None means plain text.

    TLS is used when this server has a certificate or a root file is named: a mesh is either
    all TLS or none. The certificate is shown to servers that ask for one.

    Raises:
        SettingsError: the files cannot be read, or do not belong together.
    """
    if settings.tls_ca_file is None and settings.tls_cert_file is None:
        return None
    files = _shared(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
    files.refresh()
    return files


@cache
def _shared(cert: Path | None, key: Path | None, ca: Path | None) -> CertificateFiles:
    # A channel that is opened while the files are replaced gets the last ones in order.
    return CertificateFiles(cert, key, ca)


def channel_credentials(held: Held) -> grpc.ChannelCredentials:
    """Credentials for calling other servers; they stay what they are."""
    return grpc.ssl_channel_credentials(
        root_certificates=held.ca, private_key=held.key, certificate_chain=held.cert
    )

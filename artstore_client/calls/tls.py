"""What channels show and believe: certificates from files, read again when these change."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from artstore_client.errors import ConfigurationError
from artstore_client.settings import TlsFiles

LOOK_SECONDS = 1.0
"""How often the files are looked at, while calls are made."""
# Where systems keep the roots that they trust, in the order of trying.
_SYSTEM_ROOTS = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)

_Stamp = tuple[tuple[int, int, int], ...]


class Credentials:
    """The credentials of channels, as the files say now.

    Files that are half replaced, or gone, count when they are whole again: until then the ones
    that were read last do.

    Raises:
        ConfigurationError: at the start, a file can't be read or does not hold what it should.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._clock = clock
        named = (files.ca_file, files.cert_file, files.key_file)
        self._paths = [path for path in named if path is not None]
        self._stamp = self._look()
        self._present = _read(files)
        self._looked_at = clock()

    def present(self) -> grpc.ChannelCredentials:
        """Those of now; another object after a change."""
        now = self._clock()
        # A few small files, at most once a second: it holds the loop for less than a call does.
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            stamp = self._look()
            if stamp and stamp != self._stamp:
                try:
                    self._present = _read(self._files)
                    self._stamp = stamp
                except ConfigurationError:
                    pass
        return self._present

    def _look(self) -> _Stamp:
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


def client_certificate(files: TlsFiles) -> x509.Certificate | None:
    """The certificate that is shown to servers; None when there is none to be read."""
    try:
        return x509.load_pem_x509_certificate(_bytes(files.cert_file)) if files.cert_file else None
    except (ConfigurationError, ValueError):
        return None


def _read(files: TlsFiles) -> grpc.ChannelCredentials:
    roots = _bytes(files.ca_file) if files.ca_file is not None else system_roots()
    if files.ca_file is not None and not _certificates(roots or b""):
        raise ConfigurationError(f"{files.ca_file} holds no certificate in PEM form")
    if files.cert_file is None or files.key_file is None:
        return grpc.ssl_channel_credentials(root_certificates=roots)
    chain, key = _bytes(files.cert_file), _bytes(files.key_file)
    certificates = _certificates(chain)
    if not certificates:
        raise ConfigurationError(f"{files.cert_file} holds no certificate in PEM form")
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"{files.key_file} holds no private key in PEM form without a password"
        ) from None
    if private.public_key() != certificates[0].public_key():
        raise ConfigurationError(f"{files.key_file} is not the key of {files.cert_file}")
    return grpc.ssl_channel_credentials(
        root_certificates=roots, private_key=key, certificate_chain=chain
    )


def system_roots() -> bytes | None:
    """The roots that this system trusts; None: those that gRPC brings along."""
    if os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        # gRPC reads it itself.
        return None
    told = ssl.get_default_verify_paths().cafile
    for path in (Path(told) if told else None, *_SYSTEM_ROOTS):
        if path is not None and path.is_file():
            return _bytes(path)
    return None


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}, named for TLS, can't be read: {error.strerror}"
        ) from None

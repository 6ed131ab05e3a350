"""A certificate authority of one's own and what it vouches for; `make certs` for all servers.

`python -m launch.certificates [--renew] [--server NAME] [FOLDER]`: for development, and for meshes
whose operator has no authority. The authority is made once. What it issued is made anew where it
would end within a year, lacks a name, or is not in order; servers and clients that run take it up
by themselves.
"""

from __future__ import annotations

import argparse
import datetime
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from launch import topology
from launch.private_file import write_private
from launch.tls import CLIENT

NAMES_VARIABLE = "ARTSTORE_TLS_NAMES"
# Of this machine; what else a server is called by comes with its name.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LIFE = datetime.timedelta(days=730)
# A mesh that is started once a year never meets an end.
_LEFT = datetime.timedelta(days=365)
_ORGANIZATION = "ArtStore development"


class CertificatesUnusable(RuntimeError):
    """There can be no certificates; the message says why and what to do."""


class Certificates:
    """An authority, and a folder for each that it vouches for, with `cert.pem`, `key.pem` and the
    authority as `ca.pem`: what one server is given, and no more. Nobody else reads them.

    Args:
        folder: made by `make`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.ca_file = self.folder / "ca.pem"
        self._ca_key_file = self.folder / "ca.key"

    def files_of(self, name: str) -> tuple[Path, Path]:
        """Return where the certificate of a server is, and its key."""
        return self.folder / name / "cert.pem", self.folder / name / "key.pem"

    def make(self, names: Sequence[str], more: Sequence[str], *, renew: bool = False) -> list[str]:
        """Make what is missing or not in order any more, and return its names.

        Args:
            names: of the servers, each good for that name and for this machine, and of CLIENT.
            more: DNS names and addresses that each is good for besides.
            renew: make them all anew; the authority stays.

        Raises:
            CertificatesUnusable: the folder cannot be written, or a name is none.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            authority, made = self._authority()
            for name in names:
                # That of callers is no server's.
                identities = (name,) if name == CLIENT else (name, *_LOOPBACK, *more)
                if renew or not self._is_good(name, identities):
                    self._issue(authority, name, identities)
                    made.append(name)
        except (OSError, ValueError) as refused:
            raise CertificatesUnusable(
                f"no certificates can be made in {self.folder} ({refused}): give the folder to"
                f" yourself, or remove it; {NAMES_VARIABLE} holds DNS names and addresses"
            ) from refused
        return made

    def _authority(self) -> tuple[trustme.CA, list[str]]:
        if self.ca_file.exists() and self._ca_key_file.exists():
            pair = self.ca_file.read_bytes(), self._ca_key_file.read_bytes()
            return trustme.CA.from_pem(*pair), []
        authority = trustme.CA(organization_name=_ORGANIZATION)
        _write(self._ca_key_file, authority.private_key_pem)
        _write(self.ca_file, authority.cert_pem)
        return authority, ["the authority"]

    def _issue(self, authority: trustme.CA, name: str, identities: Sequence[str]) -> None:
        issued = authority.issue_cert(
            *dict.fromkeys(identities),
            common_name=name,
            organization_name=_ORGANIZATION,
            not_after=datetime.datetime.now(datetime.UTC) + _LIFE,
        )
        cert_file, key_file = self.files_of(name)
        cert_file.parent.mkdir(mode=0o700, exist_ok=True)
        _write(cert_file.with_name("ca.pem"), authority.cert_pem)
        _write(key_file, issued.private_key_pem)
        _write(cert_file, *issued.cert_chain_pems)

    def _is_good(self, name: str, identities: Sequence[str]) -> bool:
        cert_file, key_file = self.files_of(name)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file)
            found = x509.load_pem_x509_certificate(cert_file.read_bytes())
            found.verify_directly_issued_by(
                x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            )
            if cert_file.with_name("ca.pem").read_bytes() != self.ca_file.read_bytes():
                return False
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        if found.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < _LEFT:
            return False
        known = {str(value) for value in names.get_values_for_type(x509.IPAddress)}
        known |= set(names.get_values_for_type(x509.DNSName))
        return set(identities) <= known


def _write(path: Path, *parts: trustme.Blob) -> None:
    write_private(path, b"".join(part.bytes() for part in parts).decode("ascii"))


def more_names(environment: Mapping[str, str]) -> list[str]:
    """Return what ARTSTORE_TLS_NAMES says, separated by commas."""
    parts = environment.get(NAMES_VARIABLE, "").split(",")
    return [name for part in parts if (name := part.strip())]


def make_own(
    folder: Path,
    environment: Mapping[str, str],
    *,
    servers: Sequence[str] = (),
    renew: bool = False,
) -> list[str]:
    """Have a certificate for each server of a mesh and one for callers; returns those made.

    Args:
        environment: says what else the servers are called by.
        servers: names of more than a mesh begins with.
        renew: make them all anew.

    Raises:
        CertificatesUnusable: they cannot be made.
    """
    names = [*(plan.name for plan in topology.SERVERS), *servers, CLIENT]
    return Certificates(folder).make(names, more_names(environment), renew=renew)


def main() -> int:
    """Make certificates, say which, and return the exit code."""
    parser = argparse.ArgumentParser(prog="launch.certificates", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="make all but the authority anew")
    parser.add_argument("--server", action="append", default=[], help="one more, such as se-04")
    folder = Path(os.environ.get("ARTSTORE_DATA_DIR") or ".artstore") / "tls"
    parser.add_argument("folder", nargs="?", type=Path, default=folder)
    asked = parser.parse_args()
    try:
        made = make_own(asked.folder, os.environ, servers=asked.server, renew=asked.renew)
    except CertificatesUnusable as refused:
        print(refused, file=sys.stderr)
        return 1
    told = f"made {', '.join(made)}" if made else "all there, and good for a year"
    print(f"{told}; clients trust {Certificates(asked.folder).ca_file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

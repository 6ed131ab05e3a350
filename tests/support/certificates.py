"""Certificates of an authority that one test trusts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """An authority and the files of those that it vouches for, in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.file = folder / "ca.pem"
        self.renew()

    def renew(self) -> None:
        """Be another one from now on, in the same file."""
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str = "server", *names: str, days: int = 365) -> tuple[Path, Path]:
        """Write a new certificate and its key, of this machine if no names are given.

        Args:
            name: of the files, which may be there.
            days: until it ends; negative, it has ended.
        """
        ends = datetime.now(UTC) + timedelta(days=days)
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), not_after=ends)
        cert_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        issued.private_key_pem.write_to_path(key_file)
        issued.cert_chain_pems[0].write_to_path(cert_file)
        return cert_file, key_file

"""Whether a mesh speaks TLS, and what its servers, its callers and the launcher have for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.settings import ENV_PREFIX, MeshSettings

_CERT, _KEY = f"{ENV_PREFIX}TLS_CERT_FILE", f"{ENV_PREFIX}TLS_KEY_FILE"
_CA, _CLIENT_CA = f"{ENV_PREFIX}TLS_CA_FILE", f"{ENV_PREFIX}TLS_CLIENT_CA_FILE"
_VARIABLES = (_CERT, _KEY, _CA, _CLIENT_CA)
CLIENT = "client"
"""Whose certificate callers of a mesh with certificates of its own may use."""


@dataclass(frozen=True, slots=True)
class MeshTls:
    """Files of PEM.

    Attributes:
        own: folder of the mesh's own certificates; None: those that the user named, or plain text.
        environment: the user's.
    """

    own: Path | None
    environment: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str], own: Path | None) -> MeshTls:
        """Check the variables.

        Args:
            own: folder for certificates of the mesh's own, unless the user names his.

        Raises:
            ValueError: the message names what lacks.
        """
        if bool(environment.get(_CERT)) != bool(environment.get(_KEY)):
            raise ValueError(f"{_CERT} and {_KEY} are set together or not at all")
        found = cls(None if environment.get(_CERT) else own, environment)
        if environment.get(_CLIENT_CA) and not found.speaks:
            raise ValueError(f"{_CLIENT_CA} needs ARTSTORE_TLS=1, or {_CERT} and {_KEY}")
        return found

    @property
    def speaks(self) -> bool:
        """The servers speak TLS."""
        return self.own is not None or bool(self.environment.get(_CERT))

    def of_server(self, name: str) -> dict[str, str]:
        """Return the variables of one server; they stand for all that the user has of these.

        A root file alone, that the shell has for the servers of another mesh, makes none of TLS.
        """
        told = {key: self.environment[key] for key in _VARIABLES if self.environment.get(key)}
        if self.own is not None:
            return told | self._own_of(name)
        return told if self.speaks else {}

    def settings(self) -> MeshSettings:
        """Return what the launcher calls the servers with."""
        told = self.of_server(CLIENT)
        cert, key, ca = (Path(told[name]) if name in told else None for name in (_CERT, _KEY, _CA))
        return MeshSettings(
            tls_cert_file=cert, tls_key_file=key, tls_ca_file=ca, tls_client_ca_file=None
        )

    def of_callers(self) -> dict[str, str] | None:
        """Return what mesh.json says of it; None for plain text."""
        if self.own is not None:
            own = self._own_of(CLIENT)
            return {"ca_file": own[_CA], "cert_file": own[_CERT], "key_file": own[_KEY]}
        if not self.speaks:
            return None
        roots = self.environment.get(_CA)
        return {"ca_file": str(Path(roots).absolute())} if roots else {}

    def _own_of(self, name: str) -> dict[str, str]:
        assert self.own is not None
        files = {_CERT: "cert.pem", _KEY: "key.pem", _CA: "ca.pem"}
        return {key: str(self.own / name / file) for key, file in files.items()}


def without_tls(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what `MeshTls.of_server` says."""
    return {key: value for key, value in environment.items() if key not in _VARIABLES}

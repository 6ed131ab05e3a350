"""Where the mesh is and who calls: from arguments, the environment and mesh.json, in this order.

Secrets go only to servers that were named by the same source. What is said by arguments and in the
environment is of one source, a mesh.json that they name too. One that is only found in a folder is
another: it is not used beside an account or a server that was said.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artstore_client import mesh_file as mesh_files
from artstore_client.errors import ConfigurationError
from artstore_client.mesh_file import MeshFile
from artstore_client.targets import target_of

_SERVERS = ("admin", "ingest", "query")
_TLS_FILES = ("ca_file", "cert_file", "key_file")
_SECURED = "https://"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where each server is; empty where it is not known.

    Attributes:
        admin, ingest, query: one server each, or several that do the same
            (`artstore_client.targets`).
        storage: elements by id. Admin knows them all; these are known without it.
        storage_pinned: `storage` was said by the caller (argument or environment) and goes
            before the addresses that admin lists; what mesh.json says does not.
    """

    admin: str = ""
    ingest: str = ""
    query: str = ""
    storage: Mapping[str, str] = field(default_factory=dict)
    storage_pinned: bool = False


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; a client certificate and its key are there both or not at all.

    Attributes:
        ca_file: roots to verify servers with; None: those of the system.
        cert_file: certificate (chain) to show to servers that ask for one.
        key_file: its key.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Endpoints and credentials of one mesh. A `token` makes client_id and secret unneeded.

    Attributes:
        tls: None: connections are not encrypted.
        unused: a sentence about a mesh.json that was found and is not used; "" if there is none.
    """

    endpoints: Endpoints
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls: TlsFiles | None = None
    unused: str = ""

    @property
    def mesh_id(self) -> str:
        """Tells meshes and accounts apart in files that this client keeps between runs."""
        told = "\n".join((self.endpoints.ingest, self.endpoints.admin, self.client_id))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def load(
    *,
    mesh_file: str | os.PathLike[str] | None = None,
    admin: str | None = None,
    ingest: str | None = None,
    query: str | None = None,
    storage: Mapping[str, str] | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    token: str | None = None,
    tls_ca_file: str | os.PathLike[str] | None = None,
    tls_cert_file: str | os.PathLike[str] | None = None,
    tls_key_file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
    start_folder: Path | None = None,
) -> ConnectionSettings:
    """Put the settings together; each one separately, an argument beats all.

    Args:
        mesh_file: path of a mesh.json. Default: ARTSTORE_MESH, else `.artstore/mesh.json` in the
            working folder or the nearest folder above it, unless a server or an account is said.
        environment: default os.environ.
        start_folder: where the search upward starts; default the working folder.

    Raises:
        ConfigurationError: a file that was named can't be read, or a value has a wrong form.
    """
    env = os.environ if environment is None else environment
    start = start_folder or _working_folder()
    said = _Said(
        {
            "ARTSTORE_ADMIN_ENDPOINT": admin,
            "ARTSTORE_INGEST_ENDPOINT": ingest,
            "ARTSTORE_QUERY_ENDPOINT": query,
            "ARTSTORE_CLIENT_ID": client_id,
            "ARTSTORE_CLIENT_SECRET": client_secret,
            "ARTSTORE_TOKEN": token,
        },
        env,
    )
    pins = storage
    if pins is None and env.get("ARTSTORE_STORAGE_ENDPOINTS"):
        pins = parse_storage_endpoints(env["ARTSTORE_STORAGE_ENDPOINTS"])
    names = said.names() + (["ARTSTORE_STORAGE_ENDPOINTS"] if pins is not None else [])
    named = mesh_file or env.get("ARTSTORE_MESH")
    if named:
        known = mesh_files.named(Path(named))
    elif names:
        known = mesh_files.left_alone(start, _goes_alone(names))
    else:
        known = mesh_files.found_from(start)
    places = {name: said.get(f"ARTSTORE_{name.upper()}_ENDPOINT") for name in _SERVERS}
    places = {name: told or str(known.endpoints.get(name) or "") for name, told in places.items()}
    elements = (known.endpoints.get("storage") or {}) if pins is None else pins
    arguments = dict(zip(_TLS_FILES, (tls_ca_file, tls_cert_file, tls_key_file), strict=True))
    return ConnectionSettings(
        endpoints=Endpoints(
            **{name: _checked(name, told) for name, told in places.items()},
            storage={element: _plain(str(told)) for element, told in elements.items()},
            storage_pinned=pins is not None,
        ),
        client_id=said.get("ARTSTORE_CLIENT_ID") or str(known.content.get("client_id") or ""),
        client_secret=said.get("ARTSTORE_CLIENT_SECRET")
        or str(known.content.get("client_secret") or ""),
        token=_token(said.get("ARTSTORE_TOKEN")),
        tls=_tls(
            arguments,
            # The certificate of an environment is not shown to the servers of a file that is found.
            env if named or not known.content else _only_roots(env),
            known,
            secured=any(map(_is_secured, (*places.values(), *map(str, elements.values())))),
        ),
        unused=known.unused,
    )


class _Said:
    """What arguments and environment say; an argument beats the variable."""

    def __init__(self, arguments: Mapping[str, str | None], env: Mapping[str, str]) -> None:
        self._told = {name: told or env.get(name, "") for name, told in arguments.items()}

    def get(self, variable: str) -> str:
        """The value, "" when it is not said."""
        return self._told[variable]

    def names(self) -> list[str]:
        """Variables whose value is said."""
        return [name for name, told in self._told.items() if told]


def _goes_alone(names: list[str]) -> str:
    return (
        f"{names[0]} {'is' if len(names) == 1 else 'and others are'} set, and secrets go only to"
        " servers that are named with them"
    )


def _only_roots(env: Mapping[str, str]) -> Mapping[str, str]:
    return {name: env[name] for name in ("ARTSTORE_TLS_CA_FILE", "ARTSTORE_TLS") if name in env}


def _tls(
    arguments: Mapping[str, str | os.PathLike[str] | None],
    env: Mapping[str, str],
    known: MeshFile,
    *,
    secured: bool,
) -> TlsFiles | None:
    in_file: Mapping[str, Any] | None = known.content.get("tls")
    files: dict[str, Path | None] = {}
    for name in _TLS_FILES:
        told = arguments[name] or env.get(f"ARTSTORE_TLS_{name.upper()}")
        beside = (in_file or {}).get(name)
        files[name] = Path(told) if told else known.folder / str(beside) if beside else None
    if (files["cert_file"] is None) is not (files["key_file"] is None):
        raise ConfigurationError(
            "ARTSTORE_TLS_CERT_FILE and ARTSTORE_TLS_KEY_FILE are set together or not at all"
        )
    wanted = secured or in_file is not None or env.get("ARTSTORE_TLS", "0") not in ("", "0")
    return TlsFiles(**files) if wanted or any(files.values()) else None


def _is_secured(endpoint: str) -> bool:
    return endpoint.startswith(_SECURED)


def _plain(endpoint: str) -> str:
    """`endpoint` as gRPC takes it: that its connections are encrypted is said elsewhere."""
    return endpoint.removeprefix(_SECURED).rstrip("/") if _is_secured(endpoint) else endpoint


def _checked(server: str, endpoint: str) -> str:
    plain = _plain(endpoint)
    try:
        target_of(plain)
    except ValueError as error:
        raise ConfigurationError(f"ARTSTORE_{server.upper()}_ENDPOINT: {error}") from None
    return plain


def _token(given: str) -> str:
    """A token without the end of line that it has when it comes from a file.

    Raises:
        ConfigurationError: it can't be sent.
    """
    token = given.strip()
    if not (token.isascii() and token.isprintable()):
        raise ConfigurationError(
            "ARTSTORE_TOKEN holds characters that no token has: give what `artstore token` prints"
        )
    return token


def parse_storage_endpoints(text: str) -> dict[str, str]:
    """Read "se-01=host:port,se-02=host:port".

    Raises:
        ConfigurationError: naming the part that is not of this form.
    """
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        element_id, equals, endpoint = part.partition("=")
        if not equals or not element_id.strip() or ":" not in endpoint:
            raise ConfigurationError(
                f"ARTSTORE_STORAGE_ENDPOINTS: {part!r} is not of the form se-01=host:port"
            )
        found[element_id.strip()] = endpoint.strip()
    return found


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        # It was removed: then no file is found in it nor above it.
        return Path(os.devnull)

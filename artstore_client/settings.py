"""Where the mesh is and who calls: from arguments, the environment and mesh.json, in this order."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artstore_client.errors import ConfigurationError
from artstore_client.targets import target_of

MESH_FILE = Path(".artstore") / "mesh.json"


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
class ConnectionSettings:
    """Endpoints and credentials of one mesh. A `token` makes client_id and secret unneeded."""

    endpoints: Endpoints
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

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
    environment: Mapping[str, str] | None = None,
    start_folder: Path | None = None,
) -> ConnectionSettings:
    """Put the settings together; each one separately, an argument beats all.

    Args:
        mesh_file: path of a mesh.json. Default: ARTSTORE_MESH, else `.artstore/mesh.json` in the
            working folder or the nearest folder above it.
        environment: default os.environ.
        start_folder: where the search upward starts; default the working folder.

    Raises:
        ConfigurationError: a file that was named can't be read, or a value has a wrong form.
    """
    env = os.environ if environment is None else environment
    known = _mesh_file(mesh_file or env.get("ARTSTORE_MESH"), start_folder or _working_folder())
    places = known.get("endpoints", {})

    def chosen(argument: str | None, variable: str, in_file: object) -> str:
        return argument or env.get(variable, "") or str(in_file or "")

    def endpoint(argument: str | None, server: str) -> str:
        variable = f"ARTSTORE_{server.upper()}_ENDPOINT"
        told = chosen(argument, variable, places.get(server))
        try:
            target_of(told)
        except ValueError as error:
            raise ConfigurationError(f"{variable}: {error}") from None
        return told

    elements = storage
    if elements is None and env.get("ARTSTORE_STORAGE_ENDPOINTS"):
        elements = parse_storage_endpoints(env["ARTSTORE_STORAGE_ENDPOINTS"])
    pinned = elements is not None
    if elements is None:
        elements = places.get("storage") or {}
    return ConnectionSettings(
        endpoints=Endpoints(
            admin=endpoint(admin, "admin"),
            ingest=endpoint(ingest, "ingest"),
            query=endpoint(query, "query"),
            storage=dict(elements),
            storage_pinned=pinned,
        ),
        client_id=chosen(client_id, "ARTSTORE_CLIENT_ID", known.get("client_id")),
        client_secret=chosen(client_secret, "ARTSTORE_CLIENT_SECRET", known.get("client_secret")),
        token=_token(chosen(token, "ARTSTORE_TOKEN", None)),
    )


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


def find_mesh_file(start: Path) -> Path | None:
    """`.artstore/mesh.json` in `start` or the nearest folder above it, None if there is none."""
    for folder in (start, *start.parents):
        candidate = folder / MESH_FILE
        if candidate.is_file():
            return candidate
    return None


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        # It was removed: then no file is found in it nor above it.
        return Path(os.devnull)


def _mesh_file(named: str | os.PathLike[str] | None, start: Path) -> dict[str, Any]:
    path = Path(named) if named else find_mesh_file(start)
    if path is None:
        return {}
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(
            f"mesh file {path} does not exist; start the mesh with `make run`"
        ) from None
    except OSError as exc:
        raise ConfigurationError(f"mesh file {path} can't be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"mesh file {path} is not JSON: {exc}") from exc
    if not isinstance(content, dict) or not isinstance(content.get("endpoints", {}), dict):
        raise ConfigurationError(f"mesh file {path} has no object `endpoints`")
    return content

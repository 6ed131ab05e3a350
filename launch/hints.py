"""What to try next: lines that work when pasted."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from launch import topology
from launch.data_folder import DataFolder
from launch.topology import LaunchSettings


def hints(settings: LaunchSettings, folder: DataFolder) -> str:
    """Return the addresses of the mesh and the first commands to try.

    The lines work from the present folder; the command finds the mesh by mesh.json.
    """
    served = topology.endpoints(settings)
    artstore = _program("artstore")
    away = settings.data_dir != Path(".artstore").absolute()
    place = f"export ARTSTORE_MESH={shlex.quote(str(folder.mesh_file))}\n" if away else ""
    lines = [
        "",
        *(f"  {name:7} {address}" for name, address in served.items()),
        "",
        "Try, in another terminal in this folder:",
        "",
        f"{place}{artstore} put README.md",
        f"{artstore} ls",
        f"{artstore} elements",
        *_grpcurl_lines(settings, artstore),
        "",
        f"Logs are in {_short(folder.logs)}. Ctrl-C stops everything.",
    ]
    return "\n".join(lines)


def _grpcurl_lines(settings: LaunchSettings, artstore: str) -> list[str]:
    grpcurl, se_01 = _program("grpcurl"), topology.endpoints(settings)["se-01"]
    if shutil.which(grpcurl) is None:
        return []
    trust = _grpcurl_trust(settings.tls.of_callers())
    header = '-H "authorization: Bearer $TOKEN"'
    return [
        "",
        f"TOKEN=$({artstore} token)",
        f"{grpcurl} {trust} {se_01} list",
        f"{grpcurl} {trust} {header} {se_01} artstore.v1.StorageService/ListFiles",
    ]


def _grpcurl_trust(tls: dict[str, str] | None) -> str:
    if tls is None:
        return "-plaintext"
    options = {"-cacert": "ca_file", "-cert": "cert_file", "-key": "key_file"}
    given = [f"{flag} {_file(tls[key])}" for flag, key in options.items() if key in tls]
    return " ".join(given)


def _file(path: str) -> str:
    return shlex.quote(_short(Path(path)))


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return shlex.quote(_short(beside)) if beside.exists() else name


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

"""Elements that are told by a name, for clients that are not on the network of the containers.

The name leads to an address of the host, where the ports are published: containers, too, reach each
other by going out and in again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from launch import topology
from tests.containers.composed import Address, ComposedMesh, checkout, run

NAME = "files.artstore.test"


@pytest.fixture(scope="module")
def named(
    composed: ComposedMesh, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposedMesh]:
    """A mesh whose elements are `files.artstore.test`, which all resolve to the host's address."""
    address = Address.free()
    host = f"{address.network}.1"
    address = Address(address.network, host)
    folder = tmp_path_factory.mktemp("named")
    names = {
        f"ARTSTORE_SE_{plan.number}_ENDPOINT": f"{NAME}:{plan.port}" for plan in topology.ELEMENTS
    }
    mesh = checkout(folder, address, "named", COMPOSE_FILE="compose.yaml:names.yaml", **names)
    run(["make", "-s", ".env"], cwd=folder)
    # What a name server does elsewhere.
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    known = {name: {"extra_hosts": [f"{NAME}:{host}"]} for name in services}
    (folder / "names.yaml").write_text(yaml.safe_dump({"services": known}))
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{host} {NAME}\n")
    try:
        mesh.up()
        yield mesh
    finally:
        mesh.down("--volumes", "--timeout", "0")


def _knowing_the_name(mesh: ComposedMesh, command: Sequence[str], stdin: bytes = b"") -> bytes:
    """Run `artstore` on this host where /etc/hosts is the mesh's; return what it printed."""
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    # Others are root in a namespace of users.
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return run(
        ["unshare", "--mount", *rights, "sh", "-c", script, "sh", str(mesh.folder / "hosts"),
         ".venv/bin/artstore", *command],
        cwd=mesh.folder,
        stdin=stdin,
        environment=mesh.settings | {"XDG_CACHE_HOME": str(mesh.folder / "cache")},
    ).stdout  # fmt: skip


def test_elements_are_told_by_the_name(named: ComposedMesh) -> None:
    told = json.loads(named.in_container("elements", "--json").stdout)
    assert {one["endpoint"] for one in told} == {
        f"{NAME}:{plan.port}" for plan in topology.ELEMENTS
    }


def test_clients_outside_and_inside_reach_elements_by_the_name(
    named: ComposedMesh, tmp_path: Path
) -> None:
    content = os.urandom(20_000_000)
    source = tmp_path / "large.bin"
    source.write_bytes(content)
    # So large that it is put in resumable parts, at the address that ingest hands out.
    put = _knowing_the_name(named, ["put", str(source), "--tag", "named"]).decode()
    file_id = put.split()[0]
    assert named.in_container("get", file_id, "-o", "-").stdout == content
    assert b"12 of 12 passed" in _knowing_the_name(named, ["selftest"])
    assert b"12 of 12 passed" in named.in_container("selftest").stdout

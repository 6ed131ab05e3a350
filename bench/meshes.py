"""A running mesh as the benchmarks reach it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from artstore_client import Client
from bench.tree import OWN, Tree


@dataclass(frozen=True, slots=True)
class Mesh:
    """Addresses, data and a client of one mesh.

    Attributes:
        single: address of each server that there is one of.
    """

    client: Client
    single: Mapping[str, str]
    storage: Mapping[str, str]
    database_url: str
    data_dir: Path
    processes: Mapping[str, int]
    tree: Tree

    @classmethod
    def of(cls, mesh_file: Path, tree: Tree = OWN) -> Mesh:
        """The mesh that a mesh.json describes, whose programs are those of a checkout."""
        described = json.loads(mesh_file.read_text())
        endpoints = described["endpoints"]
        return cls(
            client=Client.connect(mesh_file=mesh_file),
            single={name: endpoints[name] for name in ("admin", "ingest", "query")},
            storage=endpoints["storage"],
            database_url=described["database_url"],
            data_dir=Path(described["data_dir"]),
            processes=described["processes"],
            tree=tree,
        )

    @property
    def admin(self) -> str:
        """Address of admin."""
        return self.single["admin"]

    @property
    def ingest(self) -> str:
        """Address of ingest."""
        return self.single["ingest"]

    @property
    def query(self) -> str:
        """Address of query."""
        return self.single["query"]

    @property
    def mesh_file(self) -> Path:
        """What tells clients about it."""
        return self.data_dir / "mesh.json"

    @property
    def launcher(self) -> int:
        """The process that started them all."""
        return psutil.Process(self.processes["admin"]).ppid()

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of a call by the first account."""
        return (("authorization", f"Bearer {await self.client.access_token()}"),)

    def database(self, name: str) -> str:
        """URI of another database of the same server."""
        return urlsplit(self.database_url)._replace(path=f"/{name}").geturl()

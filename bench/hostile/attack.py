"""One kind of hostile callers against one mesh: what the servers take, and what others feel."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from artstore.v1 import accounts_pb2, tokens_pb2, tokens_pb2_grpc
from artstore_client import ArtStoreError
from bench.figures import Figure, Spread, percentile
from bench.hostile import others
from bench.hostile.kinds import KINDS
from bench.hostile.processes import attackers, sink
from bench.hostile.target import Target
from bench.hostile.usage import MIB, Usage, highest, usage_of
from bench.meshes import Mesh

# Attackers are as many processes, with two accounts each.
PROCESSES = 3
LARGE_FILE_BYTES = 32 * MIB
WARM_SECONDS = 3.0
INDEXED_SECONDS = 30.0
NOT_OURS = ("postgres", "valkey")

MOST_GROWTH_MIB = 200
MOST_OF_SINK = 3
# What may be left of growth: the larger of the two; and of descriptors.
LEFT_SHARE, LEFT_MIB = 0.2, 64


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes:
        callers: hostile ones.
        rounds: of the attack; each has one against the sink before it.
        seconds: of each.
        quiet_seconds: between the last attack and the look at what is left.
    """

    callers: int = 300
    rounds: int = 3
    seconds: float = 15.0
    quiet_seconds: float = 60.0


@dataclass(slots=True)
class Measured:
    """What one kind did to one mesh. See `Extent` for when each was looked at."""

    before: Mapping[str, Usage]
    most: dict[str, Usage]
    after: Mapping[str, Usage] = field(default_factory=dict)
    beside_sink: list[others.Others] = field(default_factory=list)
    beside_attack: list[others.Others] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def growth_mib(self) -> dict[str, float]:
        """Server -> how far its memory grew at most."""
        return {name: (one.rss - self.before[name].rss) / MIB for name, one in self.most.items()}

    def left_memory(self) -> dict[str, float]:
        """Server -> what is left of growth, as a share of what may be left."""
        return {
            name: (one.rss - self.before[name].rss)
            / max(LEFT_SHARE * self.before[name].rss, LEFT_MIB * MIB)
            for name, one in self.after.items()
        }

    def left_descriptors(self) -> dict[str, float]:
        """Server -> what is left of new descriptors, as a share of what may be left."""
        return {
            name: (one.descriptors - self.before[name].descriptors)
            / (LEFT_SHARE * self.before[name].descriptors)
            for name, one in self.after.items()
        }

    def of_sink(self) -> list[float]:
        """Each round's p99 of GetFile beside the attack, of that beside the sink."""
        pairs = zip(self.beside_attack, self.beside_sink, strict=True)
        return [percentile(a.reads, 0.99) / percentile(b.reads, 0.99) for a, b in pairs if a.reads]

    def failures(self) -> list[str]:
        """What others were told whose calls did not go through."""
        return [one for seen in self.beside_attack for one in seen.failures]

    def as_figures(self, kind: str, extent: Extent) -> list[Figure]:
        """The rows of the report."""
        of = f"{extent.callers} hostile callers, {kind}"
        reads = [percentile(one.reads, 0.99) for one in self.beside_attack if one.reads]
        uploads = [percentile(one.uploads, 0.99) for one in self.beside_attack if one.uploads]
        quiet = f"{extent.quiet_seconds:g} s after"
        return [
            _worst(f"{of}: memory growth, MiB", self.growth_mib(), MOST_GROWTH_MIB),
            _figure(f"{of}: GetFile p99, of that beside a sink", self.of_sink(), MOST_OF_SINK),
            _figure(f"{of}: GetFile p99, s", reads),
            _figure(f"{of}: upload p99, s", uploads),
            _figure(f"{of}: calls of others that failed", [len(self.failures())], 0),
            _worst(f"{of}: memory left {quiet}, of what may be", self.left_memory(), 1),
            _worst(f"{of}: descriptors left {quiet}, of what may be", self.left_descriptors(), 1),
        ]

    def tell(self, kind: str) -> None:
        """What the report leaves out, on stderr."""
        print(f"{kind}: attackers' calls ended {dict(self.ends)}", file=sys.stderr)
        for name, before in self.before.items():
            most, after = self.most[name], self.after[name]
            print(
                f"  {name}: RSS {before.rss / MIB:.0f} > {most.rss / MIB:.0f} >"
                f" {after.rss / MIB:.0f} MiB, PSS {before.pss / MIB:.0f} > {most.pss / MIB:.0f} >"
                f" {after.pss / MIB:.0f} MiB, descriptors {before.descriptors} >"
                f" {most.descriptors} > {after.descriptors}",
                file=sys.stderr,
            )
        for text, count in Counter(self.failures()).most_common(3):
            print(f"  {count} of others failed: {text}", file=sys.stderr)


async def attacked(mesh: Mesh, kind: str, extent: Extent) -> Measured:
    """Attack a mesh, in alternation with a sink in its place."""
    processes = servers_of(mesh)
    async with scene(mesh, KINDS[kind].server) as (targets, callers), sink() as address:
        await callers.for_seconds(WARM_SECONDS)
        before = usage_of(processes)
        measured = Measured(before, dict(before))
        for _ in range(extent.rounds):
            async with attackers([kind], [one.at(address) for one in targets], extent.callers):
                measured.beside_sink.append(await callers.for_seconds(extent.seconds))
            async with (
                highest(processes) as most,
                attackers([kind], targets, extent.callers) as ends,
            ):
                measured.beside_attack.append(await callers.for_seconds(extent.seconds))
            measured.ends += ends
            measured.most = {name: one.most(most[name]) for name, one in measured.most.items()}
        await asyncio.sleep(extent.quiet_seconds)
        measured.after = usage_of(processes)
    return measured


def servers_of(mesh: Mesh) -> dict[str, int]:
    """Pids of the servers that are ours."""
    return {name: pid for name, pid in mesh.processes.items() if name not in NOT_OURS}


@asynccontextmanager
async def scene(
    mesh: Mesh, server: str, *, processes: int = PROCESSES
) -> AsyncIterator[tuple[Sequence[Target], others.OtherCallers]]:
    """A target for each process of attackers, and the others, who use the mesh as they always do.

    Args:
        server: where the others read.
    """
    uploaded = await mesh.client.upload(os.urandom(LARGE_FILE_BYTES), name="large.bin")
    await _indexed(mesh, uploaded.file_id)
    victim = await mesh.client.accounts.create("victim", role=accounts_pb2.ROLE_USER)
    endpoints = {
        "admin": mesh.admin,
        "ingest": mesh.ingest,
        "query": mesh.query,
        "storage": mesh.storage[uploaded.file.storage_element_id],
    }
    async with (
        grpc.aio.insecure_channel(endpoints["admin"]) as admin,
        grpc.aio.insecure_channel(endpoints[server]) as watched,
    ):
        targets = [
            Target(
                endpoints,
                await _token(mesh, admin, f"hostile-user-{number}", accounts_pb2.ROLE_USER),
                await _token(mesh, admin, f"hostile-reader-{number}", accounts_pb2.ROLE_READONLY),
                victim.account.client_id,
                uploaded.file_id,
                uploaded.change_token,
            )
            for number in range(processes)
        ]
        yield (
            targets,
            others.OtherCallers(
                others.reading(watched, server, uploaded.file_id, mesh.metadata),
                others.uploading(mesh.client),
                others.logging_in(admin, victim.account.client_id, victim.client_secret),
            ),
        )


async def _token(
    mesh: Mesh, admin: grpc.aio.Channel, client_id: str, role: accounts_pb2.Role.ValueType
) -> str:
    made = await mesh.client.accounts.create(client_id, role=role)
    tokens: Any = tokens_pb2_grpc.TokenServiceStub(admin)
    request = tokens_pb2.IssueTokenRequest(client_id=client_id, client_secret=made.client_secret)
    return str((await tokens.IssueToken(request)).access_token)


async def _indexed(mesh: Mesh, file_id: str) -> None:
    """Wait until admin and query know a file."""
    async with (
        asyncio.timeout(INDEXED_SECONDS),
        grpc.aio.insecure_channel(mesh.admin) as admin,
        grpc.aio.insecure_channel(mesh.query) as query,
    ):
        for channel, server in ((admin, "admin"), (query, "query")):
            read = others.reading(channel, server, file_id, mesh.metadata)
            while True:
                try:
                    await read()
                    break
                except (grpc.aio.AioRpcError, ArtStoreError):
                    await asyncio.sleep(0.1)


def _worst(name: str, of_servers: Mapping[str, float], floor: float) -> Figure:
    server = max(of_servers, key=lambda one: of_servers[one])
    return _figure(f"{name} ({server})", [of_servers[server]], floor)


def _figure(name: str, values: Sequence[float], floor: float | None = None) -> Figure:
    return Figure(name, Spread.of(values or [float("inf")]), floor, None, False)

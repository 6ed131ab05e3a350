"""One storage element, alone: its callers, who goes past it to its files and rows, who kills it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import grpc

from artstore.v1 import cache_pb2, storage_pb2, transfers_pb2, transfers_pb2_grpc
from storage_server.catalog.rows import from_record, intact
from storage_server.catalog.tables import Tables
from storage_server.domain.sidecar import FileState, InvalidSidecar, Sidecar, decode, encode
from tests.support.backdoor import Backdoor, LocalBackdoor, S3Backdoor
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.mesh import MeshFile
from tests.support.outside import TIMEOUT_SECONDS, Outside
from tests.support.storage_process import Process
from tests.support.storage_rig import Rig
from tests.support.waiting import wait_until

ELEMENT = "se-01"
SIDECAR_SUFFIX = ".attr.json"
START_SECONDS = 100.0


class AloneCaller(Outside):
    """A caller of a mesh that has one element and no admin: the test signs the token."""

    account = "alice"

    def __init__(self, rig: Rig, port: int) -> None:
        super().__init__(
            MeshFile(
                {"storage": {ELEMENT: f"127.0.0.1:{port}"}},
                "",
                "",
                rig.values["database_url"],
                rig.values["redis_url"],
                rig.folder,
                {},
            )
        )
        self._rig = rig

    @property
    def token(self) -> str:
        return self._rig.signer.token(sub=self.account, role="ADMIN", ns_read=["*"], ns_write=["*"])

    def hold(self, element_id: str, file_id: str, legal_hold: bool) -> transfers_pb2.HoldResponse:
        """Set or lift a legal hold, as admin asks for it on behalf of this caller."""
        stub = transfers_pb2_grpc.TransferServiceStub(
            self.channel(self.file.endpoints["storage"][element_id])
        )
        service = self._rig.signer.token(
            role="SERVICE",
            ns_read=["*"],
            ns_write=["*"],
            aud=f"artstore/{element_id}",
            admin=True,
        )
        answer: transfers_pb2.HoldResponse = stub.Hold(
            transfers_pb2.HoldRequest(
                condition=transfers_pb2.Condition(file_id=file_id), legal_hold=legal_hold
            ),
            metadata=(("authorization", f"Bearer {service}"), ("artstore-caller", self.token)),
            timeout=TIMEOUT_SECONDS,
        )
        return answer


class ElementProcess:
    """A storage server, what it keeps, and a caller. Not for use inside an event loop.

    Args:
        rig: says where store and tables are.
        environment: of the bucket, on S3.
        store: the way past the service, unless that is the rig's folder.
    """

    def __init__(
        self,
        rig: Rig,
        environment: Mapping[str, str] | None = None,
        store: Backdoor | None = None,
    ) -> None:
        self.rig = rig
        self.backend = "s3" if environment else "local"
        self.tables = Tables("storage_elem_01_")
        self.store: Backdoor = store or LocalBackdoor(rig.root)
        self._process = Process(rig, environment)
        self._loop = asyncio.new_event_loop()
        self._database: asyncpg.Connection[Any] | None = None
        self._callers = [AloneCaller(rig, self._process.port)]

    @property
    def caller(self) -> AloneCaller:
        """A caller of the process that runs."""
        return self._callers[-1]

    @property
    def root(self) -> Path:
        """The element's folder."""
        return self.rig.root

    # --- process ---------------------------------------------------------------------

    def start(self) -> None:
        """Start, and wait until it takes writes."""
        self.begin_start()
        wait_until(self._says_writable, START_SECONDS, "the element takes writes")

    def begin_start(self) -> None:
        """Start without waiting for more than an answer."""
        # A connection to the last process would wait out its back-off.
        self._callers.append(AloneCaller(self.rig, self._process.port))
        self._process.start()

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()

    def restart(self) -> None:
        """`kill -9`, and a new process that has replayed what the last one left open.

        Locks of the dead one are taken from it, as an operator would who does not want to wait
        until they expire.
        """
        self.kill()
        self.start()
        wait_until(self._nothing_pending, START_SECONDS, "open writes are replayed")
        cache, auth = self.caller.cache(ELEMENT), self.caller.auth
        for lock in cache.ListLocks(cache_pb2.ListLocksRequest(), **auth).locks:
            cache.ReleaseLock(
                cache_pb2.ReleaseLockRequest(kind=lock.kind, file_id=lock.file_id), **auth
            )

    def require_writable(self) -> None:
        """Start it again if the test before left it without its store, or dead."""
        if not self._says_writable():
            self.restart()

    def close(self) -> None:
        """End everything."""
        for caller in self._callers:
            caller.__exit__()
        self._process.kill()
        if self._database is not None:
            self._loop.run_until_complete(self._database.close())
        self._loop.close()

    def _says_writable(self) -> bool:
        try:
            return bool(self.element().writable)
        except grpc.RpcError:
            return False

    def _nothing_pending(self) -> bool:
        return not self.sql("SELECT 1 FROM {pending}")

    def element(self) -> Any:
        """What the element says of itself."""
        stub = self.caller.storage(ELEMENT)
        return stub.GetElement(storage_pb2.GetElementRequest(), **self.caller.auth).element

    def answers(self) -> bool:
        """Whether it answers at all, writable or not."""
        try:
            self.element()
        except grpc.RpcError:
            return False
        return True

    # --- rows ------------------------------------------------------------------------

    def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one statement past the service; `{files}`, `{pending}` and `{feed}` are tables."""
        tables = self.tables
        text = statement.format(files=tables.files, pending=tables.pending, feed=tables.feed)

        async def run() -> list[asyncpg.Record]:
            if self._database is None:
                self._database = await asyncpg.connect(self.rig.values["database_url"])
            found: list[asyncpg.Record] = await self._database.fetch(text, *arguments)
            return found

        return self._loop.run_until_complete(run())

    def records(self) -> dict[str, asyncpg.Record]:
        """All rows by file id, with all columns, and whether they are as they were written."""
        query = f"SELECT f.*, {intact('f')} AS intact FROM {{files}} f"
        return {row["file_id"]: row for row in self.sql(query)}

    def rows(self) -> dict[str, Sidecar]:
        """What the rows say, by file id."""
        return {file_id: from_record(row).sidecar for file_id, row in self.records().items()}

    # --- store -----------------------------------------------------------------------

    def has_element_file(self) -> bool:
        """Whether the store says whose it is."""
        if isinstance(self.store, S3Backdoor):
            return "element.json" in self.store.all()
        return (self.root / "element.json").exists()

    def sidecar_paths(self) -> set[str]:
        """Paths of all files that are called like a sidecar."""
        return {path for path in self.store.paths() if path.endswith(SIDECAR_SUFFIX)}

    def truth(self) -> dict[str, Sidecar]:
        """The valid sidecars by file id."""
        found = {}
        for path in self.sidecar_paths():
            try:
                sidecar = decode(self.store.read(path))
            except InvalidSidecar:
                continue
            found[sidecar.file_id] = sidecar
        return found

    def put_files(self, count: int, **fields: Any) -> list[Sidecar]:
        """Lay files into the store past the service, as a restore from a backup does."""
        made = [a_sidecar(**fields) for _ in range(count)]
        for sidecar in made:
            self.store.write(path_of(sidecar).removesuffix(SIDECAR_SUFFIX), b"hello")
            self.store.write(path_of(sidecar), encode(sidecar))
        return made

    def empty(self) -> None:
        """Take all files and rows away; the element stays what it is."""
        self.store.remove_files()
        self.sql("TRUNCATE {files}")
        self.sql("DELETE FROM {pending}")
        self.caller.rebuild(ELEMENT, max_delete_ratio=1.0, wait_seconds=30)
        assert self.rows() == {}

    # --- log -------------------------------------------------------------------------

    def log_lines(self, level: str) -> list[dict[str, Any]]:
        """The server's log lines of a level, so far, but for one that a kill cut off."""
        text = self._process.log_path.read_text()
        lines = []
        for line in filter(None, text.splitlines()):
            with suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return [line for line in lines if line.get("level") == level]


def is_live(sidecar: Sidecar) -> bool:
    """Whether it is no tombstone."""
    return sidecar.state is not FileState.DELETED

"""Whether a mesh is whole once it is quiet: each file is in one place, with all that it was."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore_client import Client
from artstore_client.errors import ArtStoreError, NotFound
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.sidecar import FileState
from tests.faults.stores import ELEMENTS, SIDECAR, paths_of, sidecars_of, store_folder
from tests.support.mesh import MeshProcess
from tests.support.waiting import until

OPEN = (
    lifecycle_pb2.TRANSFER_STATE_QUEUED,
    lifecycle_pb2.TRANSFER_STATE_COPYING,
    lifecycle_pb2.TRANSFER_STATE_SWITCHING,
)
# What no update and no move changes.
SAME = (
    "original_filename",
    "content_type",
    "tags",
    "attributes",
    "version",
    "namespace",
    "sha256",
    "size_bytes",
    "created_at",
    "created_by",
    "request_id",
)
_WITH_BYTES = {state.value for state in (*HAVE_BYTES, FileState.DELETED)}
_FILE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOMES = {FileState.ACTIVE.value, FileState.DELETED.value}


@dataclass
class Expected:
    """What may be true of a file by what its callers were told.

    Attributes:
        file: as it was uploaded.
        descriptions: the acknowledged one, and those of updates whose end nobody knows.
        present: None when a delete was sent and its end is not known.
        busy: somebody changes it.
    """

    file: types_pb2.File
    descriptions: set[str] = field(default_factory=lambda: {""})
    present: bool | None = True
    busy: bool = False


class _Look:
    """What a look at a mesh found, and, while it lasts, what it waits for."""

    def __init__(self) -> None:
        self.found: dict[str, object] = {}
        self.asked = ""
        self.ended = False


async def quiet(mesh: MeshProcess, client: Client, seconds: float = 120.0) -> None:
    """Wait until no transfer, pull or write is under way, and no room is promised."""
    looks = [_Look()]

    async def over() -> bool:
        now = _Look()
        looks[:] = [*looks[-1:], now]
        try:
            await _look_under_way(mesh, client, now)
        except ArtStoreError as error:
            now.found[f"error of {now.asked}"] = error
        now.ended = True
        return not now.found

    try:
        await until(over, seconds)
    except TimeoutError:
        told = "; ".join(_told_of_look(mesh, one) for one in looks)
        raise AssertionError(f"still under way after {seconds:g} s: {told}") from None


def _told_of_look(mesh: MeshProcess, look: _Look) -> str:
    waits = "" if look.ended else f", and waited for {look.asked}"
    ids = set(_FILE_ID.findall(repr(look.found)))
    lines = [line for one in sorted(ids) for line in _lines_of(mesh, one)]
    return f"a look found {look.found or 'nothing'}{waits}" + "".join(f"\n{one}" for one in lines)


async def _look_under_way(mesh: MeshProcess, client: Client, look: _Look) -> None:
    look.asked = "admin's list of transfers"
    async with aclosing(client.transfers.list(states=OPEN)) as transfers:
        if open_ones := [one async for one in transfers]:
            look.found["transfers"] = open_ones
    look.asked = "PostgreSQL"
    connection = await asyncpg.connect(mesh.file.database_url)
    try:
        for element in ELEMENTS:
            for table in ("pending_writes", "pulls"):
                rows = await connection.fetch(f"SELECT * FROM {_table(element, table)}")
                if rows:
                    look.found[f"{table} of {element}"] = [dict(row) for row in rows]
    finally:
        await connection.close()
    look.asked = "the elements' reports"
    for report in await client.elements():
        if report.element is None or report.element.reserved_bytes:
            look.found[f"report of {report.storage_element_id}"] = report


def _table(element: str, name: str) -> str:
    return f"public.storage_elem_{element.removeprefix('se-')}_{name}"


async def checked_clean(client: Client, seconds: float = 60.0) -> None:
    """CheckMesh finds nothing, and everybody answered."""
    last: object = None

    async def clean() -> bool:
        nonlocal last
        try:
            answer = await client.mesh_check.run()
            async with aclosing(client.mesh_check.findings()) as found:
                findings = [one async for one in found]
        except ArtStoreError as error:
            last = error
            return False
        last = answer, findings
        if answer.complete:
            assert not any(one.count for one in answer.counts), last
            assert not findings, last
        return answer.complete

    try:
        await until(clean, seconds)
    except TimeoutError:
        raise AssertionError(f"the whole mesh could not be checked: {last}") from None


@dataclass(frozen=True)
class Stored:
    """What an element's store held at one moment.

    Attributes:
        sidecars: by file id.
        blobs: paths of all else.
        digests: SHA-256 of the blobs that a sidecar says are there, by path; on local files alone.
    """

    sidecars: Mapping[str, Mapping[str, Any]]
    blobs: frozenset[str]
    digests: Mapping[str, str]

    @property
    def wanted(self) -> set[str]:
        """Paths of the blobs that should be there."""
        return {_path_of(one) for one in self.sidecars.values() if one["state"] in _WITH_BYTES}


async def stored(mesh: MeshProcess, element: str, seconds: float = 60.0) -> Stored:
    """Look until nothing was written meanwhile: what was moved away goes while a test looks."""
    found: list[Stored] = []

    async def unchanged() -> bool:
        sidecars = await asyncio.to_thread(sidecars_of, mesh, element)
        # A stub is written before its bytes go; its intent ends after that.
        if await _intents(mesh, element):
            return False
        paths = await asyncio.to_thread(paths_of, mesh, element)
        blobs = frozenset(path for path in paths if not path.endswith(SIDECAR))
        digests: dict[str, str] = {}
        if "ARTSTORE_S3_BUCKET" not in mesh.environment:
            root = mesh.data_dir / store_folder(element)
            wanted = Stored(sidecars, blobs, {}).wanted & blobs
            digests = await asyncio.to_thread(_digests, root, wanted)
        found[:] = [Stored(sidecars, blobs, digests)]
        return await asyncio.to_thread(sidecars_of, mesh, element) == sidecars

    await until(unchanged, seconds)
    return found[0]


def _digests(root: Path, paths: set[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path] = hashlib.sha256((root / path).read_bytes()).hexdigest()
    return found


def _path_of(sidecar: Mapping[str, Any]) -> str:
    return f"{sidecar['storage_path']}/{sidecar['storage_filename']}"


async def _intents(mesh: MeshProcess, element: str) -> list[str]:
    connection = await asyncpg.connect(mesh.file.database_url)
    try:
        table = _table(element, "pending_writes")
        return [row[0] for row in await connection.fetch(f"SELECT file_id::text FROM {table}")]
    finally:
        await connection.close()


async def stores_are_whole(
    mesh: MeshProcess, expected: Mapping[str, Expected], *, others: bool = False
) -> dict[str, str]:
    """Each file has one home with all that it was; nothing else lies in the stores.

    Args:
        others: files that nobody expects may be there.

    Returns:
        The element of each file's home.
    """
    stores = {one: await stored(mesh, one) for one in ELEMENTS}
    there = {one: store.sidecars for one, store in stores.items()}
    homes: dict[str, str] = {}
    for file_id, known in expected.items():
        copies = {one: found[file_id] for one, found in there.items() if file_id in found}
        told = {one: (copy["state"], copy["revision"]) for one, copy in copies.items()}
        found = [one for one, copy in copies.items() if copy["state"] in _HOMES]
        assert len(found) == 1, (file_id, told)
        rest = Counter(copy["state"] for one, copy in copies.items() if one != found[0])
        assert rest.keys() <= {"moved", "gone"}, (file_id, told)
        home = copies[found[0]]
        is_active = home["state"] == "active"
        assert known.present is None or is_active == known.present, (file_id, told, known)
        assert home["description"] in known.descriptions, (file_id, told, home, known)
        homes[file_id] = found[0]
    if not others:
        known_ids = {file_id for found in there.values() for file_id in found}
        assert known_ids == expected.keys(), known_ids ^ expected.keys()
    for element, store in stores.items():
        missing = {path: _told_of(mesh, path, there) for path in store.wanted - store.blobs}
        assert not missing, (element, "bytes are missing", missing)
        stray = {path: _told_of(mesh, path, there) for path in store.blobs - store.wanted}
        assert not stray, (element, "nobody's bytes", stray)
        for one in store.sidecars.values():
            if (digest := store.digests.get(_path_of(one))) is not None:
                assert digest == one["sha256"], (element, one)
    return homes


def _told_of(mesh: MeshProcess, path: str, there: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What sidecars and logs say of a blob that is no file's."""
    file_id = path.rpartition("_")[2].partition(".")[0]
    told = [f"{one}: {found[file_id]}" for one, found in there.items() if file_id in found]
    return [*told, *_lines_of(mesh, file_id)]


def _lines_of(mesh: MeshProcess, file_id: str) -> list[str]:
    """What the logs say last of a file."""
    told = []
    for server in (*ELEMENTS, "admin", "admin-2"):
        lines = [line for line in mesh.log(server).splitlines() if file_id in line]
        told += [f"{server} {line[:600]}" for line in lines[-8:]]
    return told


async def callers_find_all(
    client: Client, expected: Mapping[str, Expected], homes: Mapping[str, str]
) -> None:
    """By id each file is what it was, at its home; what was deleted is not found."""
    slots = asyncio.Semaphore(8)

    async def look(file_id: str, known: Expected) -> None:
        async with slots:
            if known.present is False:
                try:
                    await client.stat(file_id)
                except NotFound:
                    return
                raise AssertionError(f"{file_id} was deleted, and is found")
            try:
                file = await client.stat(file_id)
            except NotFound:
                assert known.present is None, f"{file_id} is lost"
                return
            assert file.storage_element_id == homes[file_id]
            for name in SAME:
                assert getattr(file, name) == getattr(known.file, name), (file_id, name)
            assert file.description in known.descriptions
            digest = hashlib.sha256()
            async for piece in client.download(file_id):
                digest.update(piece)
            assert digest.hexdigest() == known.file.sha256

    await asyncio.gather(*(look(*one) for one in expected.items()))


async def searches_find_each_once(
    client: Client, expected: Mapping[str, Expected], *, change_tokens: Sequence[str] = ()
) -> None:
    """Of all files one line each, with the text that was acknowledged last.

    Args:
        change_tokens: what others than `client` changed; the index is waited for.
    """
    lines: Counter[str] = Counter()
    texts: dict[str, str] = {}
    token = ""
    while True:
        page = await client.search(
            page_size=1000,
            page_token=token,
            min_change_tokens=[*client.change_tokens, *change_tokens],
        )
        for result in page.results:
            lines[result.file.file_id] += 1
            texts[result.file.file_id] = result.file.description
        token = page.next_page_token
        if not token:
            break
    assert not [one for one, count in lines.items() if count > 1]
    for file_id, known in expected.items():
        if known.present is True:
            assert texts[file_id] in known.descriptions, (file_id, texts[file_id], known)
        elif known.present is False:
            assert file_id not in texts, file_id

"""Collections of a walked mesh, each compared with what may go by the contract and by the users."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import lifecycle_pb2 as pb
from mesh.calls.status import from_rpc_error
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.collecting import outcome
from tests.integration.feed.small_mesh import fetch
from tests.integration.feed.walked_mesh import FREE, OK, OpenUpload, Orphan, Walked, now
from tests.integration.feed.what_may_go import (
    EXPIRED_KEEP,
    Going,
    Stores,
    goings,
    home_of,
    left,
    states,
    until_refused,
)
from tests.support.storage_rig import Node
from tests.support.waiting import until

EXAMPLES = 100
# More than an element lets the clocks differ.
OFF_SECONDS = (20.0, 600.0, -600.0)


@dataclass
class Expected:
    """What a run must come to: files, uploads and orphan blobs that go, errors aside."""

    going: Sequence[Going]
    uploads: Sequence[OpenUpload]
    orphans: Sequence[Orphan]

    def counts(self) -> dict[str, tuple[int, int, set[str]]]:
        """Reason -> (how many, bytes, examples)."""
        found: dict[str, tuple[int, int, set[str]]] = {}

        def add(reason: str, size: int, example: str) -> None:
            count, size_bytes, examples = found.get(reason, (0, 0, set()))
            found[reason] = (
                count + (example not in examples),
                size_bytes + size,
                examples | {example},
            )

        for one in self.going:
            size = one.size_bytes if one.reason == "EXPIRED" else one.frees_bytes
            add(one.reason, size, one.file_id)
        for upload in self.uploads:
            name = f"{upload.element_id}: {upload.opened.upload_id}"
            add("IDLE_UPLOAD", upload.recorded, name)
        for orphan in self.orphans:
            file_id = Path(orphan.path).stem.rpartition("_")[2]
            add("ORPHAN_BLOB", len(orphan.data), f"{orphan.element_id}: {file_id}")
        return found

    @property
    def freed(self) -> int:
        uploads = sum(upload.recorded for upload in self.uploads)
        return sum(one.frees_bytes for one in self.going) + uploads


class Checked:
    """Collects, and compares."""

    def __init__(self, walked: Walked) -> None:
        self.walked = walked
        self.taken: Counter[str] = Counter()

    # --- collections -----------------------------------------------------------------------

    async def quiet(
        self,
        *,
        silent: Collection[str] = (),
        doubting: Collection[str] = (),
        ratio: float | None = None,
    ) -> None:
        """A dry run takes nothing, and the run after it just what it said and what may go.

        Args:
            silent: elements that are stopped.
            doubting: elements whose clock is wrong, of which a dry run knows nothing.
        """
        walked = self.walked
        fields = {} if ratio is None else {"max_delete_ratio": ratio}
        before = walked.stores()
        expected = self._expected(before, silent, doubting, ratio)
        dry = await walked.collecting.run(dry_run=True, **fields)
        assert states(walked.stores()) == states(before), "a dry run takes nothing"
        run = await walked.collecting.run(**fields)
        after = states(walked.stores())
        assert after == left(before, expected.going), _differ(after, left(before, expected.going))
        assert _counts(run) == expected.counts()
        assert run.freed_size_bytes == expected.freed
        if not doubting:
            assert outcome(run) == outcome(dry), "a dry run says what the run does"
        if not (silent or doubting or ratio is not None):
            assert not run.errors, list(run.errors)
        await self._note(expected, before)

    async def by_a_wrong_clock(self, seconds: float) -> None:
        """What admin's clock has it decide too early or too late, elements do not take."""
        walked = self.walked
        before = states(walked.stores())
        walked.clock.advance(seconds)
        try:
            # Its tokens may be of a time that nobody takes either.
            with suppress(grpc.aio.AioRpcError):
                await walked.collecting.run()
        finally:
            walked.clock.advance(-seconds)
        after = states(walked.stores())
        assert after == before, _differ(after, before)
        # What belongs to no file goes by the elements' own clocks.
        gone = [one for one in walked.orphans if not self._lies(one)]
        uploads = [one for one in walked.uploads if not await walked.is_open(one)]
        assert all(one.due for one in gone) and all(one.idle for one in uploads)
        await self._note(Expected([], uploads, gone), walked.stores())
        await walked.mesh.caught_up()

    async def of_a_registry_that_lacks_files(self, element_id: str) -> None:
        """Nothing goes."""
        walked = self.walked
        before = states(walked.stores())
        await walked.mesh.stop(element_id)
        await fetch(walked.mesh.admin_url, "TRUNCATE file_registry")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await walked.collecting.run()
        assert from_rpc_error(refused.value).reason == "ELEMENT_UNAVAILABLE"
        assert states(walked.stores()) == before
        await walked.start(element_id)

    async def amid(self, work: Sequence[tuple[str, Awaitable[str]]]) -> list[str]:
        """A run, and users meanwhile, each at a file of his own; what they were answered.

        What nobody touched goes as ever, and what somebody was told stays as he was told.
        """
        walked = self.walked
        before = walked.stores()
        expected = self._expected(before)
        earlier = await walked.moves_in_vain()
        run, *told = await asyncio.gather(walked.collecting.run(), *(one for _, one in work))
        await walked.settled()
        answers = {file_id: answer for (file_id, _), answer in zip(work, told, strict=True)}
        for transfer_id, file_id in (await walked.moves_in_vain()).items():
            if transfer_id not in earlier:
                answers[file_id] = "in vain"
        after, planned = states(walked.stores()), left(before, expected.going)
        for key in states(before):
            if key[0] not in answers:
                assert after.get(key) == planned.get(key), _differ(after, planned)
        went = [one for one in expected.going if _went(one, after)]
        for one in expected.going:
            is_lost = one.reason == "EXPIRED" or not one.leaves
            if one not in went:
                assert one.file_id in answers, f"{one} is still there"
            elif is_lost:
                assert answers.get(one.file_id) != OK, f"{one} was changed meanwhile"
        assert not run.errors, list(run.errors)
        done = Expected(went, expected.uploads, expected.orphans)
        self._is_counted(run, done, answers)
        await self._note(done, before)
        return told

    def _is_counted(self, run: pb.Collection, done: Expected, answers: Mapping[str, str]) -> None:
        """Compare what a run says with what went, of files that users were told that of meanwhile.

        A transfer takes what is over of its own file too, and counts it nowhere; what is deleted
        or released meanwhile may be due at once; what went may have been brought back.
        """
        counted, due = _told_of(_counts(run)), _told_of(done.counts())
        assert all(file_id in answers for _, file_id in due - counted), due - counted
        for reason, file_id in counted - due:
            assert answers.get(file_id) in (OK, FREE), (reason, file_id)
            if answers[file_id] == FREE and reason == "EXPIRED":
                fact = self.walked.facts[file_id]
                assert not fact.is_found(now() - EXPIRED_KEEP)
                fact.deleted = True

    def _expected(
        self,
        stores: Stores,
        silent: Collection[str] = (),
        doubting: Collection[str] = (),
        ratio: float | None = None,
    ) -> Expected:
        walked = self.walked
        going = until_refused(goings(stores, now(), silent=silent), doubting)
        asked = set(walked.mesh.rigs) - set(silent) - set(doubting)
        orphans = []
        for element_id in sorted(asked):
            due = sorted(
                (one for one in walked.orphans if one.due and one.element_id == element_id),
                key=lambda one: one.path,
            )
            paths = walked.backdoors()[element_id].paths()
            blobs = sum(not path.endswith(SIDECAR_SUFFIX) for path in paths)
            if ratio is None or len(due) <= ratio * blobs:
                orphans += due
        uploads = [one for one in walked.uploads if one.idle and one.element_id in asked]
        return Expected(going, uploads, orphans)

    async def _note(self, expected: Expected, stores: Stores) -> None:
        """What went is what users are told from now on, and lies where it is to lie."""
        walked = self.walked
        self.taken.update({reason: one[0] for reason, one in expected.counts().items()})
        for one in expected.going:
            if one.file_id not in walked.facts:
                continue
            if one.reason == "EXPIRED":
                walked.facts[one.file_id].deleted = True
            if not one.leaves and one.element_id == home_of(stores[one.file_id]):
                del walked.facts[one.file_id]
        for upload in expected.uploads:
            walked.uploads.remove(upload)
            assert not await walked.is_open(upload)
        for orphan in expected.orphans:
            walked.orphans.remove(orphan)
            assert not self._lies(orphan)
            assert orphan.data in self._quarantined(orphan.element_id)

    # --- what must be so at any time ---------------------------------------------------------

    async def all_is_well(self) -> None:
        """Stores, rows, registry, index, totals and bytes are what users were told."""
        walked = self.walked
        await walked.mesh.agree()
        stores, at = walked.stores(), now()
        for file_id, fact in walked.facts.items():
            file = stores[file_id]
            home = file[home_of(file)]
            assert home.state == ("deleted" if fact.deleted else "active"), (file_id, home.state)
            assert home.sidecar.legal_hold == fact.held
            assert home.sidecar.expires_at == fact.expires_at
            assert home.sidecar.description == fact.description
            if not fact.deleted:
                assert home.has_bytes or fact.rotten
            if fact.is_found(at) and not fact.rotten:
                came = await walked.node(home_of(file)).download(file_id)
                assert came == fact.data, (file_id, len(came), came[:8], len(fact.data))
            if fact.deleted and not fact.rotten:
                assert home.has_bytes or home.is_due_in_trash(at), "too early out of the trash"
        assert not set(stores) - set(walked.facts)
        for orphan in walked.orphans:
            assert self._lies(orphan)
        for upload in walked.uploads:
            assert await walked.is_open(upload)
        await self._rows_and_totals(stores)
        await self._found_is(
            {file_id for file_id, fact in walked.facts.items() if fact.is_found(at)}
        )

    async def _rows_and_totals(self, stores: Stores) -> None:
        mesh = self.walked.mesh
        for element_id, node in mesh.elements.items():
            here = [file[element_id] for file in stores.values() if element_id in file]
            rows = await fetch(
                mesh.database_url, f"SELECT file_id, state FROM {mesh.tables(element_id).files}"
            )
            assert {row["file_id"]: row["state"] for row in rows} == {
                one.sidecar.file_id: one.state for one in here
            }
            homes = sum(one.state == "active" for one in here)
            used = sum(one.sidecar.size_bytes for one in here if one.has_bytes)
            if any(fact.rotten for fact in self.walked.facts.values()):
                used = (await node.element()).used_bytes
            await until(partial(_totals_are, node, homes, used), 5)

    async def _found_is(self, expected: set[str]) -> None:
        page = await self.walked.mesh.search("", page_size=1000)
        assert {result.file.file_id for result in page.results} == expected
        assert page.total_count == len(expected)

    def _lies(self, orphan: Orphan) -> bool:
        return orphan.path in self.walked.backdoors()[orphan.element_id].paths()

    def _quarantined(self, element_id: str) -> list[bytes]:
        rig, backdoor = self.walked.mesh.rigs[element_id], self.walked.backdoors()[element_id]
        return [
            backdoor.read(path)
            for path in rig.files()
            if path.startswith(".quarantine/") and path.endswith(".blob")
        ]


async def _totals_are(node: Node, file_count: int, used_bytes: int) -> bool:
    element = await node.element()
    return (element.file_count, element.used_bytes) == (file_count, used_bytes)


def _counts(run: pb.Collection) -> dict[str, tuple[int, int, set[str]]]:
    prefix = "COLLECTION_REASON_"
    return {
        pb.CollectionReason.Name(one.reason).removeprefix(prefix): (
            one.count,
            one.size_bytes,
            set(one.examples),
        )
        for one in run.counts
    }


def _went(one: Going, after: Mapping[tuple[str, str], tuple[str, bool]]) -> bool:
    state, _ = after.get((one.file_id, one.element_id), ("", False))
    return state == one.leaves


def _told_of(counts: dict[str, tuple[int, int, set[str]]]) -> set[tuple[str, str]]:
    """(reason, example)"""
    return {(reason, example) for reason, one in counts.items() for example in one[2]}


def _differ(found: dict[Any, Any], expected: dict[Any, Any]) -> str:
    """The differences alone."""
    return "; ".join(
        f"{key}: {found.get(key)} instead of {expected.get(key)}"
        for key in sorted({*found, *expected})
        if found.get(key) != expected.get(key)
    )

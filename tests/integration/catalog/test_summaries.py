"""Folders are compared by fingerprints that PostgreSQL and Python compute alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import fingerprint
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import sidecar_path
from storage_server.domain.sidecar import Sidecar
from storage_server.domain.sidecar_changes import tombstoned
from storage_server.store.port import Identity, ListedSidecar
from tests.integration.catalog.files import a_sidecar, commit, now, upload

HOUR = datetime(2026, 1, 2, 3, tzinfo=UTC)


def listed(sidecar: Sidecar, identity: Identity) -> ListedSidecar:
    return ListedSidecar(sidecar_path(sidecar.storage_path, sidecar.storage_filename), identity)


async def a_folder(catalog: Catalog, names: list[str]) -> list[ListedSidecar]:
    listing = []
    for number, name in enumerate(names):
        sidecar = a_sidecar(at=HOUR, original_filename=name)
        identity = Identity(
            size=900 + number,
            mtime_ns=1_700_000_000_123_456_789 + number,
            inode=(1 << 64) - 1 - number,
            etag=f'"e{number}"' if number % 2 else "",
        )
        await upload(catalog, sidecar, identity)
        listing.append(listed(sidecar, identity))
    return listing


async def test_a_listing_that_equals_the_rows_has_their_fingerprint(catalog: Catalog) -> None:
    names = ["a.txt", "B.txt", "a b.txt", "a-b.txt", "ё.txt", "ж.txt", "😀.txt", "a%.txt", "ａ"]
    listing = await a_folder(catalog, names)
    (summary,) = (await catalog.summaries.folders()).values()
    assert summary.fingerprint == fingerprint(reversed(listing))
    assert (summary.rows, summary.live_rows, summary.damaged) == (9, 9, 0)
    assert summary.newest_sequence == 9


async def test_any_difference_changes_the_fingerprint(catalog: Catalog) -> None:
    listing = await a_folder(catalog, ["a.txt", "b.txt"])
    first, second = listing
    (summary,) = (await catalog.summaries.folders()).values()
    touched = Identity(
        size=first.identity.size, mtime_ns=first.identity.mtime_ns + 1, inode=first.identity.inode
    )
    for other in (
        [first],
        [],
        [first, second, second],
        [ListedSidecar(first.path, touched), second],
        [ListedSidecar(first.path, second.identity), ListedSidecar(second.path, first.identity)],
    ):
        assert fingerprint(other) != summary.fingerprint


async def test_folders_are_told_apart_and_tombstones_named(catalog: Catalog) -> None:
    here, there = a_sidecar(at=HOUR), a_sidecar(at=HOUR + timedelta(hours=1))
    for sidecar in (here, there):
        await upload(catalog, sidecar)
    await commit(catalog, tombstoned(there, now()), ChangeKind.DELETED)
    folders = await catalog.summaries.folders()
    assert set(folders) == {here.storage_path, there.storage_path}
    summary = folders[there.storage_path]
    assert (summary.rows, summary.live_rows) == (1, 0)
    assert summary.tombstones == {there.storage_filename}
    counts = await catalog.summaries.counts()
    assert {path: (one.rows, one.live_rows, one.newest_sequence) for path, one in counts.items()}
    assert counts[there.storage_path].live_rows == 0


async def test_all_identities_are_met_once(catalog: Catalog) -> None:
    files = [a_sidecar() for _ in range(5)]
    for sidecar in files:
        await upload(catalog, sidecar)
    met = [row.file_id async for batch in catalog.summaries.identities() for row in batch]
    assert met == sorted(sidecar.file_id for sidecar in files)

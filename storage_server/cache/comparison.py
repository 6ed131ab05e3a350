"""Which files of some folders differ from their rows. No I/O.

A row and a listed sidecar belong together by the path that the row records. If nothing lies
there, the id in the names tells them: a store that went through a tool or another file system
has its files under another form of their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from storage_server.catalog.summaries import RowKeys, RowSummary, key_of
from storage_server.domain.decisions import Verdict, compare
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import blob_beside, file_id_in_name
from storage_server.store.port import UNKNOWN_SIZE, UNREADABLE_SIZE, ListedFolder, ListedSidecar


class Renamed(NamedTuple):
    """A file under another form of its name: a path of it, and the one that is recorded."""

    file_id: str
    path: str
    recorded_path: str
    is_tombstone: bool


class ListedBlobs:
    """The blobs of some folders, by path; sizes are UNKNOWN_SIZE unless they were asked for."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self._forms: AbstractSet[tuple[str, str]] | None = None

    @classmethod
    def of(cls, listings: Iterable[ListedFolder]) -> ListedBlobs:
        """Those of whole listings."""
        return cls({f"{one.path}/{name}": size for one in listings for name, size in one.blobs})

    def has(self, path: str) -> bool:
        """Whether the blob is there, by this path or under another form of its name."""
        if path in self.sizes:
            return True
        if self._forms is None:
            self._forms = {form for one in self.sizes if (form := form_of(one)) is not None}
        return form_of(path) in self._forms


@dataclass(slots=True)
class Differences:
    """Folders that are to be looked at file by file, all at once.

    Attributes:
        listings: of those that are in the store.
        rows, live_rows: how many rows name these folders; live ones are no tombstones.
        expired: how many of live_rows have expired.
        agreeing: ids of the rows that say what the listing shows.
        agreeing_live: how many of them are no tombstones.
        agreeing_in: how many of them there are in each folder.
        blob_sizes: of the agreeing rows that are no tombstones, by the path where the blob
            should be.
        contested: ids of agreeing rows that are no tombstones, but whose sidecar another row
            claims, so that it is read.
        renamed: of the agreeing rows, those whose sidecar has another form of its name.
        tombstones: paths of the blobs (perhaps gone) of rows that are tombstones.
        to_read: sidecars that are new, changed, or whose row is damaged.
        unreadable: paths of folders and devices that are called like sidecars.
        claims: rows whose sidecar was listed, but not as they say; by its path.
        suspects: rows whose sidecar was not listed.
        blobs: those that were listed.
    """

    listings: Sequence[ListedFolder]
    rows: int = 0
    live_rows: int = 0
    expired: int = 0
    agreeing: list[str] = field(default_factory=list)
    agreeing_live: int = 0
    agreeing_in: Counter[str] = field(default_factory=Counter)
    blob_sizes: dict[str, int] = field(default_factory=dict)
    contested: set[str] = field(default_factory=set)
    renamed: list[Renamed] = field(default_factory=list)
    tombstones: set[str] = field(default_factory=set)
    to_read: list[ListedSidecar] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    claims: dict[str, list[RowSummary]] = field(default_factory=dict)
    suspects: list[RowSummary] = field(default_factory=list)
    blobs: ListedBlobs = field(default_factory=lambda: ListedBlobs({}))


def without_rows(listings: Sequence[ListedFolder]) -> Differences:
    """Folders that no row names: all that lies there is new."""
    found = Differences(listings, blobs=ListedBlobs.of(listings))
    for folder in listings:
        for one in folder.sidecars:
            if one.identity.size == UNREADABLE_SIZE:
                found.unreadable.append(one.path)
            else:
                found.to_read.append(one)
    return found


class Comparison:
    """Finds out which files of some folders differ. Its methods are for a thread."""

    def __init__(self, found: Differences) -> None:
        self._found = found
        self._listed = {key_of(one): one for folder in found.listings for one in folder.sidecars}
        self._met: dict[str, str] = {}
        found.blobs = ListedBlobs.of(found.listings)
        self.other_ids: list[str] = []

    def take(self, keys: RowKeys) -> None:
        """Some rows: those that say what the listing shows are dealt with by this."""
        found = self._found
        dead = {key for key in keys.tombstones if key in self._listed}
        for file_id, key, size in zip(keys.file_ids, keys.keys, keys.blob_sizes, strict=True):
            if key in self._listed and key not in self._met:
                self._met[key] = file_id
                path = self._listed[key].path
                found.agreeing.append(file_id)
                found.agreeing_in[path.rpartition("/")[0]] += 1
                if key not in dead:
                    found.blob_sizes[blob_beside(path)] = size
            else:
                self.other_ids.append(file_id)
        found.rows += len(keys.keys)
        found.live_rows += len(keys.keys) - len(keys.tombstones)
        found.agreeing_live += len(keys.keys) - len(dead)
        found.tombstones.update(blob_beside(self._listed[key].path) for key in dead)

    def end(self, others: Sequence[RowSummary]) -> None:
        """Sort the other rows, and the sidecars that no row agrees with."""
        found = self._found
        found.agreeing_live -= len(self.other_ids)
        by_path = {one.path: one for one in self._listed.values()}
        doubtful = {one.path: one for key, one in self._listed.items() if key not in self._met}
        unmatched = []
        for row in others:
            if row.path in by_path:
                found.claims.setdefault(row.path, []).append(row)
                doubtful[row.path] = by_path[row.path]
                self._note_contested(by_path[row.path])
            else:
                unmatched.append(row)
        self._match_by_id(unmatched, doubtful)
        for path, sidecar in doubtful.items():
            if sidecar.identity.size == UNREADABLE_SIZE:
                found.unreadable.append(path)
            elif Verdict.READ in {
                _verdict(sidecar, row) for row in found.claims.get(path, (None,))
            }:
                found.to_read.append(sidecar)

    def _note_contested(self, sidecar: ListedSidecar) -> None:
        file_id = self._met.get(key_of(sidecar))
        if file_id is not None and blob_beside(sidecar.path) not in self._found.tombstones:
            self._found.contested.add(file_id)

    def _match_by_id(self, rows: Sequence[RowSummary], doubtful: dict[str, ListedSidecar]) -> None:
        """Find the sidecars of `rows` under another form of their names."""
        found = self._found
        forms: dict[tuple[str, str], list[ListedSidecar]] = {}
        for one in doubtful.values() if rows else ():
            if one.path not in found.claims and (form := form_of(one.path)) is not None:
                forms.setdefault(form, []).append(one)
        for row in rows:
            of_row = forms.get((row.path.rpartition("/")[0], row.file_id), ())
            same = [one for one in of_row if _verdict(one, row) is Verdict.RENEW]
            if not of_row:
                found.suspects.append(row)
            elif not same:
                found.claims.setdefault(of_row[0].path, []).append(row)
            else:
                del doubtful[same[0].path]
                self._agree(row, same[0].path)

    def _agree(self, row: RowSummary, path: str) -> None:
        found, dead = self._found, row.state not in HAVE_BYTES
        found.agreeing.append(row.file_id)
        found.agreeing_in[path.rpartition("/")[0]] += 1
        found.renamed.append(Renamed(row.file_id, path, row.path, dead))
        if dead:
            found.tombstones.add(blob_beside(path))
        else:
            found.agreeing_live += 1
            found.blob_sizes[blob_beside(path)] = row.blob_size


def form_of(path: str) -> tuple[str, str] | None:
    """What all forms of a path have in common: folder and file id; None without an id."""
    folder, _, name = path.rpartition("/")
    file_id = file_id_in_name(name)
    return None if file_id is None else (folder, file_id)


@dataclass(frozen=True, slots=True)
class ComparedBlobs:
    """Blobs that sidecars stand for against those that were listed; names or paths.

    Attributes:
        forms: where a blob lies under another form of its name, by where it should be.
        missing: those that should be there and are not.
        orphans: those that no sidecar stands for.
    """

    forms: Mapping[str, str]
    missing: AbstractSet[str]
    orphans: AbstractSet[str]

    @property
    def are_complete(self) -> bool:
        """There is just one for each sidecar, beside it."""
        return not (self.forms or self.missing or self.orphans)

    @property
    def renamed_ids(self) -> Iterable[str]:
        """Of the files whose blob has another form of its name."""
        return (file_id for path in self.forms if (file_id := file_id_in_name(path)) is not None)

    @property
    def orphan_ids(self) -> Iterable[str]:
        """In the names of those that no sidecar stands for."""
        return (file_id for path in self.orphans if (file_id := file_id_in_name(path)) is not None)


def blobs_of(found: Differences) -> ComparedBlobs:
    """The blobs of folders that differ, by path; those of tombstones may be missing."""
    named = {blob_beside(one.path) for folder in found.listings for one in folder.sidecars}
    return compare_blobs(named, found.blobs.sizes.keys())


def compare_blobs(named: AbstractSet[str], listed: AbstractSet[str]) -> ComparedBlobs:
    """Find out which blobs belong to which sidecars."""
    missing, orphans = named - listed, listed - named
    if not missing or not orphans:
        return ComparedBlobs({}, missing, orphans)
    wanted = {form: path for path in missing if (form := form_of(path)) is not None}
    forms = {}
    for path in sorted(orphans):
        form = form_of(path)
        if form in wanted:
            forms[wanted.pop(form)] = path
    return ComparedBlobs(forms, missing - forms.keys(), orphans - set(forms.values()))


def wrong_sizes(found: Differences, forms: Mapping[str, str]) -> list[str]:
    """Where blobs of agreeing rows should be that were listed with another size."""
    listed = found.blobs.sizes
    wrong = []
    for path, size in found.blob_sizes.items():
        there = listed.get(forms.get(path, path), size)
        if there not in (size, UNKNOWN_SIZE):
            wrong.append(path)
    return wrong


def _verdict(sidecar: ListedSidecar, row: RowSummary | None) -> Verdict:
    return compare(
        sidecar.identity,
        row.identity if row else None,
        row_intact=row.intact if row else True,
    )

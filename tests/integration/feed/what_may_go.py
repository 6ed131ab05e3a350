"""What a collection takes of a file, told plainly from what lies in the stores.

No rule of the product's is asked: the contract is written down once more, for meshes in which
everything is settled (one home for each file) and one copy is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage_server.domain.sidecar import Sidecar, decode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.support.backdoor import Backdoor

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
EXPIRED_KEEP = MOVED_KEEP = DAY
INCOMING_KEEP = 7 * DAY
TRASH_KEEP = 7 * DAY
TOMBSTONE_KEEP = 30 * DAY


@dataclass(frozen=True)
class Lying:
    """A sidecar as it lies, and whether its bytes lie beside it."""

    sidecar: Sidecar
    has_bytes: bool

    @property
    def state(self) -> str:
        return self.sidecar.state.value

    @property
    def since(self) -> datetime:
        """When it became what it is."""
        return self.sidecar.deleted_at or self.sidecar.updated_at

    def is_over(self, keep: timedelta, now: datetime) -> bool:
        return self.since + keep <= now

    def is_due_in_trash(self, now: datetime) -> bool:
        """Whether its bytes are no tombstone's any more."""
        return self.state == "deleted" and self.sidecar.updated_at + TRASH_KEEP <= now


File = Mapping[str, Lying]
"""A file's sidecars by element."""

Stores = Mapping[str, File]
"""All files by id."""


@dataclass(frozen=True, order=True)
class Going:
    """One sidecar that changes or goes; `leaves` is what is left: deleted, gone or nothing."""

    file_id: str
    element_id: str
    reason: str
    leaves: str
    size_bytes: int
    frees_bytes: int


def lying(backdoors: Mapping[str, Backdoor]) -> dict[str, dict[str, Lying]]:
    """What lies in the stores now."""
    found: dict[str, dict[str, Lying]] = {}
    for element_id, backdoor in backdoors.items():
        paths = backdoor.paths()
        for path in paths:
            if path.endswith(SIDECAR_SUFFIX):
                sidecar = decode(backdoor.read(path))
                has_bytes = path.removesuffix(SIDECAR_SUFFIX) in paths
                file = found.setdefault(sidecar.file_id, {})
                file[element_id] = Lying(sidecar, has_bytes)
    return found


def home_of(file: File) -> str:
    """The element of its home or tombstone; empty if there is none."""
    homes = [name for name, one in file.items() if one.state in ("active", "deleted")]
    assert len(homes) <= 1, homes
    return homes[0] if homes else ""


def states(stores: Stores) -> dict[tuple[str, str], tuple[str, bool]]:
    """(file, element) -> (state, whether there are bytes)."""
    return {
        (file_id, element_id): (one.state, one.has_bytes)
        for file_id, file in stores.items()
        for element_id, one in file.items()
    }


def left(stores: Stores, going: Collection[Going]) -> dict[tuple[str, str], tuple[str, bool]]:
    """`states` once it has gone."""
    found = states(stores)
    for one in going:
        key = one.file_id, one.element_id
        if not one.leaves:
            del found[key]
        else:
            found[key] = one.leaves, one.leaves == "deleted" and found[key][1]
    return found


def goings(stores: Stores, now: datetime, *, silent: Collection[str] = ()) -> list[Going]:
    """All that one run takes away; of each file in the order in which it goes."""
    return [
        one
        for file_id, file in sorted(stores.items())
        for one in _of_file(
            file_id, {name: one for name, one in file.items() if name not in silent}, now, silent
        )
    ]


def until_refused(going: Collection[Going], refusing: Collection[str]) -> list[Going]:
    """What of it goes where an element refuses: of each file all up to its first refusal."""
    ended: set[str] = set()
    found = []
    for one in going:
        if one.element_id in refusing:
            ended.add(one.file_id)
        if one.file_id not in ended:
            found.append(one)
    return found


def _of_file(file_id: str, file: File, now: datetime, silent: Collection[str]) -> Iterator[Going]:
    home_id = home_of(file)
    if not home_id:
        return
    home, others = file[home_id], {name: one for name, one in file.items() if name != home_id}
    size = home.sidecar.size_bytes

    def goes(element_id: str, reason: str, leaves: str) -> Going:
        frees = size if leaves == "gone" and file[element_id].has_bytes else 0
        return Going(file_id, element_id, reason, leaves, size, frees)

    if home.state == "active" and not _has_expired(home, now):
        for name, one in others.items():
            if reason := _too_much(home, one, now):
                yield goes(name, reason, "gone")
        return
    if home.state == "active":
        yield goes(home_id, "EXPIRED", "deleted")
    for name, one in others.items():
        follows_the_trash = one.state == "copy" and home.has_bytes
        if one.state != "gone" and not follows_the_trash:
            yield goes(name, "TRASH", "gone")
    is_last = home.state == "deleted" and not home.has_bytes and not silent
    all_gone = all(one.state == "gone" for one in others.values())
    if is_last and all_gone and home.is_over(TOMBSTONE_KEEP, now):
        for name in (*others, home_id):
            yield goes(name, "TRASH", "")


def _has_expired(home: Lying, now: datetime) -> bool:
    expires_at = home.sidecar.expires_at
    return (
        expires_at is not None and not home.sidecar.legal_hold and expires_at + EXPIRED_KEEP <= now
    )


def _too_much(home: Lying, one: Lying, now: datetime) -> str:
    """Why it goes beside an active home; empty when it stays."""
    if not home.has_bytes:
        return ""
    if one.state == "moved" and one.is_over(MOVED_KEEP, now):
        return "MOVED"
    if one.state == "incoming" and one.is_over(INCOMING_KEEP, now):
        return "SURPLUS"
    is_current = one.sidecar.revision == home.sidecar.revision and one.has_bytes
    return "SURPLUS" if one.state == "copy" and is_current else ""

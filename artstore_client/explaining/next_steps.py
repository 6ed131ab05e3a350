"""What happens to a file next, and when: a pure function of what was seen.

Each rule looks at one side of a file and answers the steps that it knows of; a further side of a
file's life is a further rule in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore_client.explaining.placement import mode_of
from artstore_client.explaining.seen import Seen, Verdict
from artstore_client.times import moment

# Unless the namespace's policy, or the element's settings, say otherwise.
TRASH_DAYS = 7
TOMBSTONE_DAYS = 30
# From the end of the retention until the file is collected, and from a move until the source goes.
GRACE = timedelta(hours=24)

_NO_DELETE = frozenset({"rw", "ro", "ar"})
_NO_UPDATE = frozenset({"ro", "ar"})


class About(StrEnum):
    """The side of a file's life that a step belongs to."""

    HOLD = "hold"
    RETENTION = "retention"
    TRASH = "trash"
    COPIES = "copies"
    TRANSFER = "transfer"
    CHANGES = "changes"
    CACHE = "cache"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens, or can be done.

    Attributes:
        at: from when on; None: as it is now, or when something else happens.
        what: one sentence, without that time.
    """

    about: About
    what: str
    at: datetime | None = None


Rule = Callable[[Seen, datetime], Iterable[Step]]


def next_steps(seen: Seen, now: datetime) -> tuple[Step, ...]:
    """What happens next: what holds now first, then by time."""
    steps = [step for rule in RULES for step in rule(seen, now)]
    return tuple(sorted(steps, key=lambda step: (step.at is not None, step.at or now)))


def _hold(seen: Seen, now: datetime) -> Iterator[Step]:
    if seen.file is not None and seen.file.legal_hold:
        yield Step(About.HOLD, "held: nothing expires or deletes it until an ADMIN lifts the hold")


def _retention(seen: Seen, now: datetime) -> Iterator[Step]:
    file = seen.file
    if file is None or file.state != types_pb2.FILE_STATE_ACTIVE:
        return
    if file.retention_policy == types_pb2.RETENTION_POLICY_PERMANENT:
        yield Step(About.RETENTION, "permanent: kept until somebody deletes it")
        return
    ends = moment(file.expires_at)
    if ends is None or file.legal_hold:
        return
    kept = f"its retention ({_days(file.retention_days)})"
    served = seen.policy.is_served
    if not has_ended(file, now):
        extends = "keep" if served else "update --days"
        what = f"{kept} ends; `artstore {extends}` extends it"
    elif served is False:
        what = f"{kept} has ended"
    else:
        what = f"{kept} has ended: nobody finds it, and `artstore keep` brings it back"
    if served is False:
        what += "; it stays readable: this version of the mesh removes no expired files yet"
    elif served is None:
        what += "; whether the mesh then removes it, an ADMIN can see"
    yield Step(About.RETENTION, what, ends)
    if served:
        yield Step(About.RETENTION, "the next collection puts it into the trash", ends + GRACE)


def has_ended(file: types_pb2.File, now: datetime) -> bool:
    """Whether the retention of an active file is over."""
    ends = moment(file.expires_at)
    return ends is not None and ends <= now and not file.legal_hold


def _trash(seen: Seen, now: datetime) -> Iterator[Step]:
    home, file = seen.home, seen.file
    if home is None or seen.verdict is not Verdict.DELETED:
        return
    if file is None:
        yield Step(About.TRASH, f"deleted; {home.storage_element_id} does not show when")
        return
    deleted = moment(file.deleted_at) or moment(file.updated_at)
    if deleted is None or file.legal_hold:
        return
    policy = seen.policy.value
    set_so = policy is not None and policy.HasField("trash_days")
    days = policy.trash_days if policy is not None and set_so else TRASH_DAYS
    unless = "" if set_so else ", unless the element or its policy says otherwise"
    gone = deleted + timedelta(days=days)
    if gone > now:
        back = f"until then `artstore {_brings_back(file, now)}` brings it back"
        yield Step(About.TRASH, f"its bytes leave the trash ({_days(days)}{unless}); {back}", gone)
    else:
        yield Step(About.TRASH, f"its bytes left the trash ({_days(days)}{unless})", gone)
    purged = deleted + timedelta(days=max(days, TOMBSTONE_DAYS))
    what = (
        f"a collection takes the record, too ({_days(TOMBSTONE_DAYS)}, unless admin's settings say"
        " otherwise), once every element says that nothing else is left of it"
    )
    yield Step(About.TRASH, f"{what}: then nobody knows the id any more", purged)


def _brings_back(file: types_pb2.File, now: datetime) -> str:
    ends = moment(file.expires_at)
    return "trash restore --days" if ends is not None and ends <= now else "restore"


def _copies(seen: Seen, now: datetime) -> Iterator[Step]:
    for one in seen.elements:
        file = one.file
        if file is None:
            continue
        name = one.storage_element_id
        if file.state == types_pb2.FILE_STATE_MOVED:
            left = moment(file.updated_at)
            gone = left + GRACE if left is not None else None
            what = f"what is left on {name} goes, once {file.moved_to} has it"
            yield Step(About.COPIES, what, gone)
        elif file.state == types_pb2.FILE_STATE_INCOMING:
            yield Step(About.COPIES, f"{name} becomes its home when the transfer is done")
        elif file.state == types_pb2.FILE_STATE_COPY:
            yield Step(About.COPIES, f"{name} holds a copy, which follows its home")


def _transfer(seen: Seen, now: datetime) -> Iterator[Step]:
    transfer = seen.transfer.value
    if transfer is None:
        return
    way = (
        f"from {transfer.source_storage_element_id} to {transfer.target_storage_element_id or '?'}"
    )
    tid, state = transfer.transfer_id, transfer.state
    if state == lifecycle_pb2.TRANSFER_STATE_FAILED:
        what = f"its move {way} was given up: {transfer.error}"
        yield Step(About.TRANSFER, f"{what}; `artstore transfer retry {tid}` tries again")
    elif state == lifecycle_pb2.TRANSFER_STATE_SWITCHING:
        yield Step(About.TRANSFER, f"changes its home {way} at this moment: changes of it wait")
    elif state in (lifecycle_pb2.TRANSFER_STATE_QUEUED, lifecycle_pb2.TRANSFER_STATE_COPYING):
        failed = f", last tried in vain: {transfer.error}" if transfer.error else ""
        yield Step(
            About.TRANSFER,
            f"is on its way {way}{failed}; `artstore transfer show {tid}` tells how far",
            moment(transfer.next_attempt_at) if transfer.error else None,
        )


def _changes(seen: Seen, now: datetime) -> Iterator[Step]:
    home, file = seen.home, seen.file
    if home is None or home.element is None or file is None:
        return
    name, mode = home.storage_element_id, mode_of(home)
    if home.element.closed:
        yield Step(About.CHANGES, f"{name} changes no files until it was compared with the others")
    elif seen.verdict is Verdict.LIVE and mode in _NO_UPDATE:
        what = "change or delete it" if mode == "ro" else "change or delete it, or read its bytes"
        yield Step(About.CHANGES, f"nobody can {what}: {name} is in mode {mode}")
    elif seen.verdict is Verdict.LIVE and mode in _NO_DELETE and not file.legal_hold:
        yield Step(About.CHANGES, f"nobody can delete it: {name} is in mode {mode}")


def _cache(seen: Seen, now: datetime) -> Iterator[Step]:
    file = seen.file
    if file is None or seen.verdict is not Verdict.LIVE:
        return
    ends = cache_ends(file)
    if ends is None:
        yield Step(About.CACHE, "the next read puts its cache entry back")
    elif file.cache_expired:
        what = "the next read checks its cache entry against the store"
        yield Step(About.CACHE, f"{what}; a cache cleanup drops the entry, never the file")
    else:
        yield Step(
            About.CACHE, "at the latest its cache entry is old; a read checks it again", ends
        )


def _answers(seen: Seen, now: datetime) -> Iterator[Step]:
    if seen.verdict is not Verdict.UNSURE:
        return
    names = ", ".join(one.storage_element_id for one in seen.doubting)
    yield Step(About.ANSWERS, f"ask again when {names} can say: it may be there")


RULES: tuple[Rule, ...] = (
    _hold,
    _retention,
    _trash,
    _transfer,
    _copies,
    _changes,
    _cache,
    _answers,
)


def cache_ends(file: types_pb2.File) -> datetime | None:
    """From when on its cache entry counts as expired, at the latest (a tenth of the time earlier at
    most); None when the answer is not from an entry.
    """
    checked = moment(file.cache_updated_at)
    return checked + timedelta(hours=file.cache_ttl_hours) if checked is not None else None


def _days(count: float) -> str:
    return f"{count:g} day{'' if count == 1 else 's'}"

"""An explanation as sections of short lines for people, one screen in all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from artstore.v1 import audit_pb2, cache_pb2, types_pb2
from artstore_client.cli.as_json import enum_word
from artstore_client.cli.moments import from_now, when
from artstore_client.cli.output import human_size
from artstore_client.explaining.explanation import Explanation
from artstore_client.explaining.next_steps import has_ended
from artstore_client.explaining.placement import Passed
from artstore_client.explaining.seen import ElementSeen, Verdict, Word, is_file_id
from artstore_client.times import moment

_STATE = {
    types_pb2.FILE_STATE_ACTIVE: "has it",
    types_pb2.FILE_STATE_COPY: "has a copy",
    types_pb2.FILE_STATE_MOVED: "had it",
    types_pb2.FILE_STATE_INCOMING: "is getting it",
    types_pb2.FILE_STATE_DELETED: "has its tombstone: it was deleted",
}
_LOCK = {
    cache_pb2.LOCK_KIND_MANUAL_REBUILD: "a rebuild works on its element: an old entry stays old",
    cache_pb2.LOCK_KIND_MANUAL_CHECK: "a check works on its element: it hinders nothing",
    cache_pb2.LOCK_KIND_LAZY_REBUILD: "a reader checks its cache entry at this moment",
    cache_pb2.LOCK_KIND_BACKGROUND_CLEANUP: "a cleanup drops old entries of its element's cache",
}

Lines = Iterator[str]


def sections(told: Explanation) -> list[tuple[str, list[str]]]:
    """(title, lines) of each side of the file that there is something to say of."""
    made = [(title, list(lines(told))) for title, lines in _SECTIONS.items()]
    return [(title, lines) for title, lines in made if lines]


def _file(told: Explanation) -> Lines:
    seen, file = told.seen, told.seen.file
    if file is not None:
        yield f"{file.original_filename}  {human_size(file.size_bytes)}  {file.content_type}"
        made, changed = moment(file.created_at), moment(file.updated_at)
        by = f" by {file.created_by}" if file.created_by else ""
        if made is not None:
            yield f"put into namespace {file.namespace}{by} {when(made, told.explained_at)}"
        if changed is not None and file.revision > 1:
            by = f" by {file.updated_by}" if file.updated_by else ""
            what = "deleted" if seen.verdict is Verdict.DELETED else "changed"
            yield f"{what}{by} {when(changed, told.explained_at)}, revision {file.revision}"
        return
    if seen.verdict is Verdict.DELETED:
        yield "was deleted"
    elif not is_file_id(seen.file_id):
        yield f"{seen.file_id!r} is no id of a file; `artstore search` finds ids by names and words"
    elif seen.verdict is Verdict.UNSURE:
        yield "not known: none that answered has it, and some did not, or could not say"
    else:
        yield "not known: never stored here, removed for good, or in a namespace you may not read"


def _where(told: Explanation) -> Lines:
    for one in told.seen.elements:
        yield f"{one.storage_element_id}  {_said(one, told)}"
    if told.seen.doubt:
        yield f"elements added lately were not asked: {told.seen.doubt}"


def _said(one: ElementSeen, told: Explanation) -> str:
    if one.word is Word.NOT_THERE:
        return f"had it, now on {one.went_to}" if one.went_to else "has not got it"
    if one.word in (Word.SILENT, Word.REFUSED):
        return _unsaid(one, told.explained_at)
    if one.file is None:
        return _STATE[types_pb2.FILE_STATE_DELETED]
    said = _STATE.get(one.file.state, enum_word(types_pb2.FileState.DESCRIPTOR, one.file.state))
    to = f", now on {one.file.moved_to}" if one.file.moved_to else ""
    return f"{said}{to}, revision {one.file.revision}"


def _unsaid(one: ElementSeen, now: datetime) -> str:
    if one.word is Word.REFUSED:
        return f"refused to say: {one.error.message if one.error is not None else ''}"
    said = "does not answer"
    heard = moment(one.listed.reported_at) if one.listed is not None else None
    if heard is not None:
        said += f", last heard of {from_now(heard, now)}"
    if one.replica is not None:
        state = _STATE.get(one.replica.state, "has it")
        said += f"; by the registry it {state}, revision {one.replica.revision}"
    return said


def _why_there(told: Explanation) -> Lines:
    why = told.placement
    if why is None:
        return
    yield from why.reasons
    for one in why.passed:
        yield _passed(one)
    home = told.seen.home
    if why.like_it_now and home is not None and why.like_it_now != home.storage_element_id:
        yield f"a new file like it would go to {why.like_it_now} now"


def _passed(one: Passed) -> str:
    name = f"{one.storage_element_id} (priority {one.priority}) comes first"
    if one.added_later:
        return f"{name}, and was added after this file was made"
    if one.why_not_now:
        return f"{name}, and {one.why_not_now}"
    return f"{name} and takes files now: perhaps it was full, down, draining or read-only then"


def _cache(told: Explanation) -> Lines:
    file, verdict = told.seen.file, told.seen.verdict
    if file is None or verdict not in (Verdict.LIVE, Verdict.DELETED):
        return
    checked = moment(file.cache_updated_at)
    if checked is None:
        yield "no entry was to be had: this is from the file's own description in the store"
        return
    age = "expired" if file.cache_expired else "fresh"
    stale = ", could not be checked in time" if file.cache_stale else ""
    yield (
        f"{age}{stale}: checked against the store {when(checked, told.explained_at)},"
        f" good for {file.cache_ttl_hours} h"
    )


def _locks(told: Explanation) -> Lines:
    if told.seen.home is None:
        return
    if told.seen.locks.value is None:
        yield f"not shown: {told.seen.locks.why_not}"
        return
    for lock in told.seen.locks.value:
        until = moment(lock.expires_at)
        ends = f", until {from_now(until, told.explained_at)} unless renewed" if until else ""
        yield f"{_LOCK.get(lock.kind, 'held')} ({lock.holder}{ends})"
    if not told.seen.locks.value:
        yield "none that concern it"


def _next(told: Explanation) -> Lines:
    for step in told.next_steps:
        time = f"{when(step.at, told.explained_at)}: " if step.at is not None else ""
        yield f"{time}{step.what}"


def _search(told: Explanation) -> Lines:
    seen = told.seen
    if not is_file_id(seen.file_id):
        return
    indexed = seen.indexed.value
    if indexed is None:
        yield f"not known whether it is found: {seen.indexed.why_not}"
        return
    ended = seen.file is not None and has_ended(seen.file, told.explained_at)
    live = seen.verdict is Verdict.LIVE and not ended
    if indexed.file is None:
        yield "does not find it yet" if live else "does not find it"
    elif seen.file is not None and live:
        now = indexed.file.revision == seen.file.revision
        yield "finds it as it is" if now else f"finds it as of revision {indexed.file.revision}"
    else:
        where = indexed.file.storage_element_id
        yield f"still finds {indexed.file.original_filename}, on {where}"
    behind = indexed.following
    if behind is not None:
        lag = f"{behind.lag_changes} changes behind" if behind.lag_changes else "up to date with"
        yield f"its index is {lag} {behind.storage_element_id}"
        if behind.last_error:
            yield f"it can't follow {behind.storage_element_id} now: {behind.last_error}"
    if not indexed.complete:
        yield "its index is not complete yet: files may be missing"


def _events(told: Explanation) -> Lines:
    if not is_file_id(told.seen.file_id):
        return
    events = told.seen.events
    if events.value is None:
        yield f"not shown: {events.why_not}"
        return
    for event in events.value:
        at = moment(event.occurred_at)
        time = when(at, told.explained_at) if at is not None else "?"
        why = f": {event.reason}" if event.reason else ""
        done = enum_word(audit_pb2.AuditOutcome.DESCRIPTOR, event.outcome)
        revision = event.details.get("revision")
        made = f", revision {revision}" if revision else ""
        yield f"{time}  {event.actor or 'somebody'}  {event.action}  {done}{made}{why}"
    if not events.value:
        yield "none on record"


_SECTIONS: dict[str, Callable[[Explanation], Lines]] = {
    "File": _file,
    "Where": _where,
    "Why there": _why_there,
    "Cache": _cache,
    "Locks": _locks,
    "Next": _next,
    "Search": _search,
    "Events": _events,
}

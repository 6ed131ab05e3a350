"""Sidecars of the model: small tuples, and what the real steps make of them.

A walk meets the same few thousand sidecars again and again, so each is turned into a real one,
changed by `storage_server.domain`, and turned back once; nothing here knows a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from admin_server.life.next_steps import (
    Activate,
    Collect,
    Collected,
    Copy,
    CopyState,
    Erase,
    Heal,
    MarkMoved,
    Pull,
    SetAside,
    Step,
    SyncCopy,
)
from mesh.errors import ArtStoreError
from storage_server.domain import life
from storage_server.domain.file_id import new_file_id
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.domain.sidecar_changes import tombstoned, undeleted, updated

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
LATELY = NOW - timedelta(minutes=1)
LONG_AGO = NOW - timedelta(days=60)
FAR = NOW + timedelta(days=60)
BORN = NOW - timedelta(days=90)
FILE_ID = new_file_id(BORN)
ELEMENTS = ("se-0", "se-1", "se-2")
# home_since of the model is a rank; what a step sets anew is the time by the clock: above all.
FIRST_SINCE = NOW_MS - 1000
NEWEST = 1000
NO_TEXT = -1
DEAD, HELD, EXPIRED = 1, 2, 4
STEP_OF_TEXT = 8


class Small(NamedTuple):
    """A sidecar. `text` is a number that counts the user's changes, and has bits for their effect.

    `deleted` and `old` tell times: `deleted` is 0 for no time, 1 for lately, 2 for long ago.
    """

    state: str
    since: int
    revision: int
    text: int
    deleted: int = 0
    to: int = -1
    has_bytes: bool = True
    old: bool = False


Change = Callable[[Sidecar], Sidecar]


@cache
def real(one: Small) -> Sidecar:
    """The sidecar that a small one stands for."""
    text = max(one.text, 0)
    times = (None, LATELY, LONG_AGO)
    aside = one.state == "copy" and one.to >= 0
    return Sidecar(
        file_id=FILE_ID,
        revision=one.revision,
        state=FileState(one.state),
        original_filename="a.txt",
        storage_filename=f"a_{FILE_ID}.txt",
        storage_path="2026/03/03/00",
        size_bytes=1,
        sha256="ab" * 32,
        created_at=BORN,
        created_by="alice",
        updated_at=LONG_AGO if one.old else LATELY,
        description=str(one.text),
        retention_days=150,
        expires_at=LONG_AGO if text & EXPIRED else FAR,
        legal_hold=bool(text & HELD),
        home_since=FIRST_SINCE + one.since if one.since >= 0 else None,
        moved_to=ELEMENTS[one.to] if one.to >= 0 else "",
        deleted_at=LATELY if aside else times[one.deleted],
    )


def small(sidecar: Sidecar, *, has_bytes: bool = True) -> Small:
    """The small one of a sidecar, whose times are those of this module.

    It must say that it is deleted exactly if its text does.
    """
    state = sidecar.state
    since = max(life.home_since_of(sidecar) - FIRST_SINCE, -1)
    if state is FileState.ERASED:
        return Small("erased", since, sidecar.revision, NO_TEXT, has_bytes=False)
    to = ELEMENTS.index(sidecar.moved_to) if sidecar.moved_to else -1
    old = sidecar.updated_at < LATELY
    if state is FileState.GONE:
        return Small("gone", since, sidecar.revision, NO_TEXT, 0, to, False, old)
    text = int(sidecar.description)
    at = life.deleted_at_of(sidecar)
    deleted = 0 if at is None else 2 if at < LATELY else 1
    assert bool(deleted) == bool(text & DEAD), sidecar
    assert sidecar.legal_hold == bool(text & HELD), sidecar
    return Small(state.value, since, sidecar.revision, text, deleted, to, has_bytes, old)


@cache
def digest(one: Small | None) -> str:
    """What a step is conditional on: times pass, and bytes go, without it."""
    if one is None:
        return ""
    return str(one._replace(deleted=min(one.deleted, 1), old=False, has_bytes=True))


@cache
def copy(element: int, one: Small) -> Copy:
    """What admin sees of it."""
    sidecar = real(one)
    return Copy(
        element_id=ELEMENTS[element],
        state=CopyState(one.state),
        home_since=FIRST_SINCE + one.since,
        revision=one.revision,
        digest=digest(one),
        updated_at=sidecar.updated_at,
        text=b"%d" % one.text,
        moved_to=sidecar.moved_to,
        deleted_at=sidecar.deleted_at,
        expires_at=sidecar.expires_at,
        bytes_present=one.has_bytes,
        sha256=sidecar.sha256,
        legal_hold=sidecar.legal_hold,
    )


# --- users --------------------------------------------------------------------------------


@cache
def changed(one: Small, verb: str, text: int) -> Small | None:
    """What a user's call leaves, whose text is `text`; None when it is refused."""
    sidecar = real(one)
    try:
        if verb == "delete":
            after = tombstoned(sidecar, NOW)
        elif verb == "undelete":
            if not one.has_bytes:
                return None
            after = undeleted(sidecar, NOW)
        else:
            after = updated(sidecar, {"legal_hold": bool(text & HELD)}, NOW)
    except ArtStoreError:
        return None
    after = replace(after, expires_at=LONG_AGO if text & EXPIRED else FAR)
    return small(replace(after, description=str(text)))


# --- steps --------------------------------------------------------------------------------


class Call(NamedTuple):
    """A step on its way. `left` counts how often it may still arrive.

    `was` is the sidecar that it was decided on, `source` what the step takes over, as it was when
    it was decided; `lost` are the elements that were marked as lost then.
    """

    step: str
    element: int
    was: Small | None
    source: Small | None = None
    since: int = 0
    argument: str = ""
    number: int = -1
    lost: tuple[int, ...] = ()
    left: int = 2


def call(step: Step, found: tuple[Small | None, ...], lost: tuple[int, ...]) -> Call:
    """`step` as it is sent."""
    element = ELEMENTS.index(step.element_id)
    was = found[element]
    match step:
        case Pull():
            source = found[ELEMENTS.index(step.source)]
            return Call("pull", element, was, source, argument=step.state.value)
        case MarkMoved():
            to = ELEMENTS.index(step.moved_to)
            return Call("moved", element, was, number=to)
        case SyncCopy():
            return Call("sync", element, was, found[ELEMENTS.index(step.home.element_id)])
        case Activate():
            since = step.home_since - FIRST_SINCE
            revision = -1 if step.revision is None else step.revision
            state = step.state.value
            return Call("activate", element, was, None, since, state, revision, lost)
        case Collect():
            to = ELEMENTS.index(step.moved_to) if step.moved_to else -1
            return Call("collect", element, was, argument=step.step.value, number=to)
        case SetAside():
            return Call("aside", element, was)
        case Erase():
            return Call("erase", element, was)
        case Heal():
            return Call("heal", element, was, found[ELEMENTS.index(step.source)])


REFUSED = Small("refused", 0, 0, NO_TEXT)


@cache
def arrived(one: Small | None, sent: Call, text: int) -> Small | None:
    """What a call leaves where it arrives; REFUSED when nothing changes.

    Args:
        text: what the sidecar says if the call is a change of its own: an expired file goes.
    """
    if sent.step == "heal":
        same = one is not None and not one.has_bytes and digest(one) == digest(sent.was)
        return one._replace(has_bytes=True) if one is not None and same else REFUSED
    before = None if one is None else real(one)
    try:
        after = _taken(before, one, sent, text)
    except ArtStoreError:
        return REFUSED
    if after is before or digest(one) != digest(sent.was):
        return REFUSED
    if after is None:
        return None
    kept = one is not None and one.has_bytes
    return small(after, has_bytes=kept or sent.step == "pull")


def _taken(before: Sidecar | None, one: Small | None, sent: Call, text: int) -> Sidecar | None:
    source = None if sent.source is None else real(sent.source)
    if sent.step == "erase":
        return life.erased(FILE_ID, before, "carol", "law", NOW)
    if sent.step == "pull":
        assert source is not None
        state = FileState(sent.argument)
        placed = (source.storage_path, source.storage_filename)
        return life.arrived(source, state, placed, NOW, over=before)
    if before is None:
        return before
    if sent.step == "moved":
        return life.marked_moved(before, ELEMENTS[sent.number], NOW)
    if sent.step == "sync":
        assert source is not None
        return life.synced(before, source, NOW)
    if sent.step == "aside":
        return life.set_aside(before, ELEMENTS[sent.element], NOW)
    if sent.step == "activate":
        return life.activated(
            before,
            home_since=FIRST_SINCE + sent.since,
            revision=None if sent.number < 0 else sent.number,
            state=FileState(sent.argument),
            finalized_at=None,
            finalized_to="",
            now=NOW,
        )
    return _collected(before, sent, text)


def _collected(before: Sidecar, sent: Call, text: int) -> Sidecar | None:
    step = Collected(sent.argument)
    if step is Collected.PURGE:
        return None
    if step is Collected.TO_COPY:
        return life.no_home_any_more(before, NOW)
    if step is Collected.TO_GONE:
        return life.gone(before, ELEMENTS[sent.number] if sent.number >= 0 else "", NOW)
    after = life.expired_to_trash(before, NOW)
    return after if after is before else replace(after, description=str(text))

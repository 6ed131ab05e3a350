"""Why a file is on its element, as far as that can be told afterwards. A rule on what was seen.

Uploads go by Sequential Fill: temporary files to elements in mode edit, permanent ones to elements
in mode rw; of these to the lowest priority number that has room and takes files at that moment.
What an element was like at that moment is kept nowhere, so of those that came before it is told
what they are like now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from artstore.v1 import elements_pb2, types_pb2
from artstore_client.contract import FULL_PERCENT
from artstore_client.explaining.seen import HOME_STATES, ElementSeen, Seen, Word

MODES = {
    types_pb2.ELEMENT_MODE_EDIT: "edit",
    types_pb2.ELEMENT_MODE_RW: "rw",
    types_pb2.ELEMENT_MODE_RO: "ro",
    types_pb2.ELEMENT_MODE_AR: "ar",
}
_MODE_OF = {
    types_pb2.RETENTION_POLICY_TEMPORARY: ("temporary", "edit"),
    types_pb2.RETENTION_POLICY_PERMANENT: ("permanent", "rw"),
}
# An element in one of these was in the other before.
_ONCE = {"ro": "rw", "ar": "rw"}


@dataclass(frozen=True, slots=True)
class Passed:
    """An element that comes before the file's own in the order in which they are filled.

    Attributes:
        why_not_now: why a file like it would not go there now; empty when it would.
        added_later: it became part of the mesh after the file was made.
    """

    storage_element_id: str
    priority: int
    why_not_now: str
    added_later: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Why a file is where it is.

    Attributes:
        reasons: sentences, the rule first.
        passed: elements that came before it, in their order.
        like_it_now: element that a new file like it would go to now; empty when there is none.
    """

    reasons: tuple[str, ...]
    passed: tuple[Passed, ...] = ()
    like_it_now: str = ""


def placement(seen: Seen) -> Placement | None:
    """Why the file is on its element; None when no element that answered has it."""
    home, file = seen.home, seen.file
    if home is None or file is None or file.retention_policy not in _MODE_OF:
        return None
    name, (kind, wanted) = home.storage_element_id, _MODE_OF[file.retention_policy]
    if file.state not in HOME_STATES:
        return Placement((f"{name} holds a copy; where the file's home is did not answer",))
    if file.finalized_to == name:
        return Placement((f"it was finalized to {name}, an element for permanent files",))
    mode = mode_of(home)
    if mode != wanted and _ONCE.get(mode) != wanted:
        return Placement((
            f"{kind} files go to elements in mode {wanted}, and {name} is in mode {mode or '?'}:"
            " it was sent there directly, or the mode was another one then",
        ))  # fmt: skip
    reasons = [f"{kind} files go to elements in mode {wanted}, lowest priority number first"]
    if mode != wanted:
        reasons.append(f"{name} is in mode {mode} now; it was in mode {wanted} then")
    order = [one for one in seen.elements if mode_of(one) == wanted]
    passed = tuple(_passed(one, file) for one in _before(home, order))
    if not passed:
        reasons.append(f"{name} (priority {_priority(home)}) is the first of them")
    like_it = (one.storage_element_id for one in order if not why_not_now(one, file.size_bytes))
    return Placement(tuple(reasons), passed, next(like_it, ""))


def why_not_now(one: ElementSeen, size_bytes: int) -> str:
    """Why a file of that size would not go to the element now; empty when it would."""
    element = one.element
    if element is None or one.word is Word.SILENT:
        return "does not answer"
    if element.draining:
        return "is being drained"
    if not _has_room(element, size_bytes):
        return "has no room for it"
    if not element.writable:
        return f"takes no files: {element.unwritable_reason or 'it does not say why'}"
    return ""


def mode_of(one: ElementSeen) -> str:
    """edit, rw, ro or ar; empty when it is not known."""
    return MODES.get(one.element.mode, "") if one.element is not None else ""


def _before(home: ElementSeen, order: Iterable[ElementSeen]) -> list[ElementSeen]:
    place = (_priority(home), home.storage_element_id)
    return [one for one in order if (_priority(one), one.storage_element_id) < place]


def _passed(one: ElementSeen, file: types_pb2.File) -> Passed:
    listed = one.listed
    return Passed(
        one.storage_element_id,
        _priority(one),
        why_not_now(one, file.size_bytes),
        added_later=listed is not None
        and listed.HasField("registered_at")
        and listed.registered_at.ToMilliseconds() > file.created_at.ToMilliseconds(),
    )


def _priority(one: ElementSeen) -> int:
    return one.element.priority if one.element is not None else 0


def _has_room(element: elements_pb2.StorageElement, size_bytes: int) -> bool:
    """As ingest counts: used, reserved and the file within FULL per cent of the capacity."""
    taken = element.used_bytes + element.reserved_bytes + size_bytes
    limit = element.capacity_bytes * FULL_PERCENT.get(MODES.get(element.mode, ""), 0)
    return element.fill_level != types_pb2.FILL_LEVEL_FULL and taken * 100 <= limit

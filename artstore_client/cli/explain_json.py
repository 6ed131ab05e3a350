"""An explanation as one JSON document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from artstore.v1 import types_pb2
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.explaining.explanation import Explanation
from artstore_client.explaining.placement import Placement, mode_of
from artstore_client.explaining.seen import ElementSeen, Indexed, Seen, Told


def document(told: Explanation) -> dict[str, Any]:
    """What is null was not told, or there is none; `not_shown` says why it was not told."""
    seen = told.seen
    return {
        "file_id": seen.file_id,
        "verdict": seen.verdict.value,
        "explained_at": _time(told.explained_at),
        "storage_element_id": seen.home.storage_element_id if seen.home is not None else None,
        "file": as_json(seen.file) if seen.file is not None else None,
        "elements": [_element(one) for one in seen.elements],
        "placement": _placement(told.placement) if told.placement is not None else None,
        "locks": _list(seen.locks.value),
        "next": [
            {
                "at": _time(step.at) if step.at is not None else None,
                "about": step.about.value,
                "what": step.what,
            }
            for step in told.next_steps
        ],
        "transfer": as_json(seen.transfer.value) if seen.transfer.value is not None else None,
        "search": _indexed(seen.indexed.value) if seen.indexed.value is not None else None,
        "events": _list(seen.events.value),
        "not_shown": _not_shown(seen),
        "error": told.error.message if told.error is not None else None,
        "reason": told.error.reason if told.error is not None else None,
    }


def _element(one: ElementSeen) -> dict[str, Any]:
    file = one.file
    return {
        "storage_element_id": one.storage_element_id,
        "answer": one.word.value,
        "mode": mode_of(one) or None,
        "priority": one.element.priority if one.element is not None else None,
        "state": enum_word(types_pb2.FileState.DESCRIPTOR, file.state)
        if file is not None
        else None,
        "revision": file.revision if file is not None else None,
        "went_to": one.went_to or None,
        "registered": as_json(one.replica) if one.replica is not None else None,
        "error": one.error.message if one.error is not None else None,
    }


def _placement(why: Placement) -> dict[str, Any]:
    return {
        "reasons": list(why.reasons),
        "passed": [
            {
                "storage_element_id": one.storage_element_id,
                "priority": one.priority,
                "why_not_now": one.why_not_now or None,
                "added_later": one.added_later,
            }
            for one in why.passed
        ],
        "like_it_now": why.like_it_now or None,
    }


def _indexed(indexed: Indexed) -> dict[str, Any]:
    following = indexed.following
    return {
        "found": indexed.file is not None,
        "revision": indexed.file.revision if indexed.file is not None else None,
        "following": as_json(following) if following is not None else None,
        "index_complete": indexed.complete,
    }


def _not_shown(seen: Seen) -> dict[str, str]:
    asked: dict[str, Told[Any]] = {
        "registry": seen.registry,
        "locks": seen.locks,
        "policy": seen.policy,
        "transfer": seen.transfer,
        "search": seen.indexed,
        "events": seen.events,
    }
    return {name: one.why_not for name, one in asked.items() if one.error is not None}


def _list(messages: Any) -> list[dict[str, Any]] | None:
    return [as_json(one) for one in messages] if messages is not None else None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

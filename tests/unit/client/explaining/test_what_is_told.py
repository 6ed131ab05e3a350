"""What `artstore explain` prints, for people and for programs, of what was seen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from artstore.v1 import audit_pb2, cache_pb2, registry_pb2, types_pb2
from artstore_client import errors
from artstore_client.cli.explain_json import document
from artstore_client.cli.explain_lines import sections
from artstore_client.cli.moments import from_now
from artstore_client.explaining.explanation import Explanation, explained
from artstore_client.explaining.seen import Told
from tests.unit.client.explaining.pictures import (
    DAY,
    DELETED,
    DENIED,
    FILE_ID,
    HOUR,
    NOW,
    a_file,
    an_element,
    explain,
    found,
    seen,
    silent,
    stamp,
)

SCREEN = 24


def told(what: Explanation, title: str) -> list[str]:
    return dict(sections(what)).get(title, [])


def test_a_live_file_fits_on_a_screen() -> None:
    file = a_file()
    what = explain(an_element("se-01", file), silent("se-03"), indexed=found(file), locks=DENIED)
    shown = sections(what)
    assert [title for title, _ in shown] == [
        "File", "Where", "Why there", "Cache", "Locks", "Next", "Search", "Events",
    ]  # fmt: skip
    assert sum(len(lines) for _, lines in shown) <= SCREEN
    assert told(what, "File") == [
        "report.pdf  1.5 KiB  application/pdf",
        "put into namespace default by anna 2026-11-28 10:00:00Z (2 h ago)",
    ]
    assert told(what, "Where") == [
        "se-01  has it, revision 1",
        "se-02  has not got it",
        "se-03  does not answer, last heard of 3 min ago",
    ]
    assert told(what, "Cache") == [
        "fresh: checked against the store 2026-11-28 11:00:00Z (60 min ago), good for 24 h"
    ]
    assert told(what, "Locks") == ["not shown: your account's role or namespaces do not reach it"]
    assert told(what, "Search") == ["finds it as it is", "its index is up to date with se-01"]
    assert told(what, "Events") == ["not shown: this version of the mesh does not serve it yet"]
    assert any("(in 30 days): its retention" in line for line in told(what, "Next"))


def test_an_expired_entry_and_locks_that_concern_it_are_told() -> None:
    lock = cache_pb2.Lock(
        kind=cache_pb2.LOCK_KIND_MANUAL_REBUILD,
        holder="host:1",
        expires_at=stamp(NOW + timedelta(seconds=30)),
    )
    what = explain(an_element("se-01", a_file(cache_expired=True)), locks=Told((lock,)))
    assert told(what, "Cache")[0].startswith("expired: checked against the store")
    assert told(what, "Locks") == [
        "a rebuild works on its element: an old entry stays old"
        " (host:1, until in 30 s unless renewed)"
    ]


def test_a_deleted_file_says_when_by_whom_and_how_long_it_can_come_back() -> None:
    file = a_file(state=DELETED, revision=2, updated_at=NOW - DAY, updated_by="bert")
    what = explain(an_element("se-01", file))
    assert told(what, "File")[-1] == "deleted by bert 2026-11-27 12:00:00Z (24 h ago), revision 2"
    assert told(what, "Where")[0] == "se-01  has its tombstone: it was deleted, revision 2"
    assert told(what, "Search") == ["does not find it"]
    assert "artstore restore" in told(what, "Next")[0]
    assert what.error is None


def test_an_unknown_id_says_who_said_no_and_what_search_still_knows() -> None:
    what = explain(indexed=found(a_file()))
    assert told(what, "File") == [
        "not known: never stored here, removed for good, or in a namespace you may not read"
    ]
    assert told(what, "Where") == [f"se-0{n}  has not got it" for n in (1, 2, 3)]
    assert told(what, "Search")[0] == "still finds report.pdf, on se-01"
    assert isinstance(what.error, errors.NotFound)
    assert "se-01, se-02, se-03" in what.error.message


def test_what_may_be_on_a_silent_element_is_told_with_what_the_registry_knows() -> None:
    replica = registry_pb2.Replica(
        storage_element_id="se-02", state=types_pb2.FILE_STATE_ACTIVE, revision=4
    )
    what = explain(silent("se-02", replica=replica))
    assert told(what, "File") == [
        "not known: none that answered has it, and some did not, or could not say"
    ]
    assert told(what, "Where")[1] == (
        "se-02  does not answer, last heard of 3 min ago; by the registry it has it, revision 4"
    )
    assert told(what, "Next") == ["ask again when se-02 can say: it may be there"]
    assert isinstance(what.error, errors.Unavailable)
    assert what.error.reason == "ELEMENT_UNAVAILABLE"


def test_a_name_is_no_id_and_search_is_where_to_ask() -> None:
    what = explained(replace(seen(), file_id="report.pdf"), NOW)
    (line,) = told(what, "File")
    assert "'report.pdf' is no id of a file; `artstore search`" in line
    assert (told(what, "Search"), told(what, "Events")) == ([], [])
    assert isinstance(what.error, errors.NotFound)


def test_an_index_that_is_behind_is_told_by_how_much() -> None:
    old = a_file()
    what = explain(
        an_element("se-01", a_file(revision=3)),
        indexed=found(old, lag_changes=14, last_error="se-01 is silent"),
    )
    assert told(what, "Search") == [
        "finds it as of revision 1",
        "its index is 14 changes behind se-01",
        "it can't follow se-01 now: se-01 is silent",
    ]


def test_events_are_told_newest_first() -> None:
    event = audit_pb2.AuditEvent(
        sequence=1,
        occurred_at=stamp(NOW - HOUR),
        actor="bert",
        action="file.updated",
        outcome=audit_pb2.AUDIT_OUTCOME_DONE,
        details={"revision": "2"},
        reason="asked by Carla",
    )
    what = explain(an_element("se-01", a_file()), events=Told((event,)))
    assert told(what, "Events") == [
        "2026-11-28 11:00:00Z (60 min ago)  bert  file.updated  done, revision 2: asked by Carla"
    ]
    assert told(explain(events=Told(())), "Events") == ["none on record"]


def test_programs_get_one_document() -> None:
    file = a_file()
    what = explain(an_element("se-01", file), silent("se-03"), indexed=found(file), locks=DENIED)
    told_all: dict[str, Any] = json.loads(json.dumps(document(what)))
    assert (told_all["file_id"], told_all["verdict"]) == (FILE_ID, "live")
    assert told_all["file"]["retention_policy"] == "temporary"
    assert [one["answer"] for one in told_all["elements"]] == ["has", "not_there", "silent"]
    assert told_all["placement"]["like_it_now"] == "se-01"
    assert told_all["search"]["found"] is True
    assert (told_all["locks"], told_all["events"], told_all["error"]) == (None, None, None)
    assert told_all["not_shown"].keys() == {"locks", "policy", "events"}
    assert {step["about"] for step in told_all["next"]} == {"retention", "cache"}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "now"), (5, "in 5 s"), (-90, "90 s ago"), (-180, "3 min ago"), (7300, "in 2 h"),
        (-40 * 3600, "40 h ago"), (86400 * 7 - 2, "in 7 days"), (86400 * 800, "in 2 years"),
    ],
)  # fmt: skip
def test_times_are_told_from_now(seconds: float, shown: str) -> None:
    assert from_now(NOW + timedelta(seconds=seconds), NOW) == shown

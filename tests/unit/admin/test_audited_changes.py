"""What an element's changes are in the audit."""

from __future__ import annotations

from admin_server.audit.changes import events_of
from artstore.v1 import changes_pb2


def test_changes_of_which_nobody_says_who_made_them_are_a_hole() -> None:
    said, repaired, unsaid = (
        changes_pb2.CHANGE_CAUSE_CALLER,
        changes_pb2.CHANGE_CAUSE_REPAIR,
        changes_pb2.CHANGE_CAUSE_UNSPECIFIED,
    )
    causes = (unsaid, unsaid, said, repaired, unsaid, unsaid, unsaid)
    changes = [
        changes_pb2.Change(
            position=n, cursor=f"c{n}", cause=cause, kind=changes_pb2.CHANGE_KIND_DELETED
        )
        for n, cause in enumerate(causes, start=1)
    ]
    found = [
        (event.action, event.details.get("reason"), event.details.get("lost"))
        for event in events_of("se-01", changes)
    ]
    assert found == [
        ("feed.hole", "NOT_SAID", "2"),
        ("file.deleted", None, None),
        ("feed.hole", "NOT_SAID", "3"),
    ]

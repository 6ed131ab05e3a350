"""Which reports in Valkey count: those of elements that admin lists, with its store and address."""

from __future__ import annotations

from artstore.v1.elements_pb2 import StorageElement, StorageElementReport
from mesh.elements.admitted import DOUBT_SECONDS, Admitted


def told(**changes: str) -> StorageElementReport:
    said = {"storage_element_id": "se-01", "store_id": "s", "endpoint": "a:1"}
    return StorageElementReport(**(said | changes))


def admitted() -> tuple[Admitted, list[int], list[float]]:
    doubts, now = list[int](), [100.0]
    found = Admitted(clock=lambda: now[0])
    found.doubt = lambda: doubts.append(1)
    found.replace(
        [
            StorageElement(storage_element_id="se-01", store_id="s", endpoint="a:1"),
            StorageElement(storage_element_id="se-04"),
        ]
    )
    return found, doubts, now


def test_a_report_counts_with_the_store_and_at_the_address_that_were_admitted() -> None:
    found, doubts, _ = admitted()
    assert told() in found
    assert doubts == []
    for other in ({"store_id": "t"}, {"endpoint": "b:1"}, {"endpoint": "a:2"}):
        assert told(**other) not in found
    assert told(storage_element_id="se-02") not in found
    assert len(doubts) == 4


def test_one_that_was_made_and_has_not_reported_is_nowhere() -> None:
    found, _, _ = admitted()
    assert told(storage_element_id="se-04", store_id="", endpoint="") not in found


def test_admin_is_not_asked_for_ever_about_the_same_stranger() -> None:
    found, doubts, now = admitted()
    for _ in range(5):
        assert told(endpoint="b:1") not in found
        now[0] += DOUBT_SECONDS / 2
    assert len(doubts) == 3
    assert told(endpoint="c:1") not in found
    assert len(doubts) == 4

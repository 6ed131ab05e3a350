"""What it means when no element gives a file."""

from __future__ import annotations

from typing import Any

import pytest

from artstore.v1 import elements_pb2, types_pb2
from artstore_client import errors
from artstore_client.calls.directory import ElementDirectory
from artstore_client.files.finding import find_file, verdict


class Mesh:
    """A connection to elements that have nothing; `listed` is what admin lists."""

    def __init__(self) -> None:
        self.listed = ["se-01"]
        self.asked: list[str] = []
        self.directory = ElementDirectory(pinned={}, seeds={}, ask=self._list)
        self.elements = self.directory.known

    async def _list(self) -> list[elements_pb2.StorageElement]:
        return [elements_pb2.StorageElement(storage_element_id=n, endpoint=n) for n in self.listed]

    async def registered_homes(self, _: str) -> list[str]:
        return []

    async def at_element(self, element_id: str, _: Any) -> types_pb2.File:
        self.asked.append(element_id)
        raise errors.NotFound("no such file")


async def test_an_element_that_was_added_after_the_last_look_is_asked_too() -> None:
    mesh = Mesh()
    connection: Any = mesh
    with pytest.raises(errors.NotFound):
        await find_file(connection, "x")
    mesh.listed.append("se-04")
    with pytest.raises(errors.NotFound) as missing:
        await find_file(connection, "x")
    assert mesh.asked == ["se-01", "se-01", "se-04"]
    assert "se-01, se-04" in missing.value.message


def test_file_is_missing_only_when_all_say_so() -> None:
    answer = verdict("id", {"se-01": errors.NotFound("x"), "se-02": errors.NotFound("x")})
    assert isinstance(answer, errors.NotFound)
    assert "se-01, se-02" in answer.message


def test_silent_element_makes_it_unknown() -> None:
    failures = {
        "se-01": errors.NotFound("x"),
        "se-02": errors.Unavailable("down", retry_after_seconds=7),
        "se-03": errors.DeadlineExceeded("slow"),
    }
    answer = verdict("id", failures)
    assert isinstance(answer, errors.Unavailable)
    assert answer.retry_after_seconds == 7
    assert "se-02: down" in answer.message
    assert "se-03: slow" in answer.message


def test_refusal_is_told_before_silence() -> None:
    refusal = errors.PermissionDenied("no role")
    failures = {"se-01": errors.Unavailable("down"), "se-02": refusal}
    assert verdict("id", failures) is refusal


def test_silent_elements_are_named_for_programs_too() -> None:
    failures = {"se-01": errors.NotFound("x"), "se-04": errors.Unavailable("down")}
    answer = verdict("id", failures)
    assert answer.metadata == {"storage_element_ids": "se-04"}


def test_tombstone_decides_while_others_are_silent() -> None:
    deleted = errors.NotFound("x", reason="FILE_DELETED")
    answer = verdict("id", {"se-01": deleted, "se-02": errors.Unavailable("down")})
    assert isinstance(answer, errors.NotFound)
    assert answer.reason == "FILE_DELETED"


def test_missing_file_says_when_admin_could_not_tell_of_other_elements() -> None:
    answer = verdict("id", {"se-01": errors.NotFound("x")}, doubt="admin is away")
    assert isinstance(answer, errors.NotFound)
    assert "admin is away" in answer.message

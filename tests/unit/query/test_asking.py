"""Query asks the elements for a file that its index lacks: all there are, also the newest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from artstore.v1.types_pb2 import FILE_STATE_ACTIVE, FILE_STATE_MOVED, File, FileState
from mesh.errors import ArtStoreError, NotFound, Unavailable
from mesh.follower.lookups import ElementMetadata
from query_server.files.asking import Elements


class Directory:
    """Knows `known`; a look finds `there` as well, or fails when that is None."""

    def __init__(self, known: Mapping[str, str], there: Mapping[str, str] | None) -> None:
        self.known, self.there = dict(known), there

    def endpoints(self) -> Mapping[str, str]:
        return dict(self.known)

    async def look(self) -> None:
        if self.there is None:
            raise Unavailable("neither Valkey nor admin answers")
        self.known.update(self.there)


class Answering(Elements):
    """Elements that answer what a test says, and are counted when they are asked."""

    def __init__(self, directory: Any, answers: Mapping[str, Any]) -> None:
        super().__init__(lambda _: pytest.fail("no channel is needed"), directory)
        self.answers = answers
        self.asked: list[str] = []

    async def _ask(
        self, element_id: str, endpoint: str, file_id: str, metadata: ElementMetadata
    ) -> File | ArtStoreError:
        self.asked.append(endpoint)
        answer = self.answers[endpoint]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


async def no_metadata(element_id: str) -> tuple[tuple[str, str], ...]:
    return ()


MISSING = NotFound("no such file")
GONE = NotFound("it went", metadata={"moved_to": "se-02"})
SILENT = Unavailable("down")


def said(state: str, since: int = 1, revision: int = 1) -> File:
    number = FileState.Value(f"FILE_STATE_{state.upper()}")
    return File(file_id="x", state=number, home_since=since, revision=revision)


async def test_an_element_of_a_moment_ago_is_asked_before_a_file_is_nowhere() -> None:
    directory = Directory({"se-01": "a:1"}, {"se-04": "a:4"})
    elements = Answering(directory, {"a:1": MISSING, "a:4": said("active")})
    assert (await elements.find("x", metadata=no_metadata))[0] == "se-04"
    assert elements.asked == ["a:1", "a:4"]


async def test_a_new_element_that_is_silent_is_named() -> None:
    directory = Directory({"se-01": "a:1"}, {"se-04": "a:4"})
    elements = Answering(directory, {"a:1": MISSING, "a:4": Unavailable("down")})
    with pytest.raises(Unavailable) as silent:
        await elements.find("x", metadata=no_metadata)
    assert silent.value.metadata == {"storage_element_ids": "se-04"}


@pytest.mark.parametrize("there", [{}, None])
async def test_without_a_new_element_it_is_nowhere(there: Mapping[str, str] | None) -> None:
    elements = Answering(Directory({"se-01": "a:1"}, there), {"a:1": MISSING})
    with pytest.raises(NotFound):
        await elements.find("x", metadata=no_metadata)
    assert elements.asked == ["a:1"]


@pytest.mark.parametrize(
    ("first", "second", "home"),
    [
        (said("active"), said("incoming"), "se-01"),
        (said("moved", 1, 2), said("incoming"), "se-01"),
        (said("moved", 1, 2), SILENT, "se-01"),
        (said("moved", 1, 2), said("active", 2, 2), "se-02"),
        (GONE, said("active", 2, 2), "se-02"),
        (GONE, [MISSING, said("active", 2, 2)], "se-02"),
        (said("active", 1, 9), said("active", 2, 2), "se-02"),
        (said("deleted", 1, 9), said("active", 2, 2), "se-02"),
        (said("copy"), SILENT, "se-01"),
        (said("copy"), said("active"), "se-02"),
    ],
)
async def test_of_two_elements_the_files_home_gives_it(first: Any, second: Any, home: str) -> None:
    elements = Answering(Directory({"se-01": "a", "se-02": "b"}, {}), {"a": first, "b": second})
    assert (await elements.find("x", metadata=no_metadata))[0] == home


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (said("deleted", 2), said("active", 1, 9), "FILE_DELETED"),
        (said("deleted", 1, 2), said("copy"), "FILE_DELETED"),
        (said("deleted"), SILENT, "FILE_DELETED"),
        (MISSING, MISSING, "NOT_FOUND"),
        (MISSING, SILENT, "ELEMENT_UNAVAILABLE"),
        (GONE, SILENT, "ELEMENT_UNAVAILABLE"),
        (GONE, MISSING, "SWITCHING"),
    ],
)
async def test_what_is_not_found_all_say_or_one_last_word(
    first: Any, second: Any, reason: str
) -> None:
    elements = Answering(Directory({"se-01": "a", "se-02": "b"}, {}), {"a": first, "b": second})
    with pytest.raises(ArtStoreError) as told:
        await elements.find("x", metadata=no_metadata)
    assert told.value.reason == reason


async def test_what_its_home_says_has_expired_is_not_described_by_a_copy() -> None:
    answers = {
        "a:1": File(file_id="x", state=FILE_STATE_MOVED),
        "a:2": NotFound("over", reason="EXPIRED"),
        "a:3": Unavailable("down"),
    }
    everywhere = {"se-01": "a:1", "se-02": "a:2", "se-03": "a:3"}
    elements = Answering(Directory(everywhere, {}), answers)
    with pytest.raises(NotFound) as refused:
        await elements.find("x", metadata=no_metadata)
    assert refused.value.reason == "EXPIRED"
    answers["a:2"] = File(file_id="x", state=FILE_STATE_ACTIVE)
    assert (await elements.find("x", metadata=no_metadata))[0] == "se-02"


async def test_of_a_silent_home_its_copys_text_says_that_the_file_has_expired() -> None:
    over = said("copy")
    over.expires_at.FromSeconds(1)
    answers = {"a": SILENT, "b": over}
    elements = Answering(Directory({"se-01": "a", "se-02": "b"}, {}), answers)
    with pytest.raises(NotFound) as told:
        await elements.find("x", metadata=no_metadata)
    assert told.value.reason == "EXPIRED"
    answers["a"] = said("active")
    assert (await elements.find("x", metadata=no_metadata))[0] == "se-01"

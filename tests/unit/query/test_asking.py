"""Query asks the elements for a file that its index lacks: all there are, also the newest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from artstore.v1.types_pb2 import File
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

    def __init__(self, directory: Any, answers: Mapping[str, File | ArtStoreError]) -> None:
        super().__init__(lambda _: pytest.fail("no channel is needed"), directory)
        self.answers = answers
        self.asked: list[str] = []

    async def _ask(
        self, element_id: str, endpoint: str, file_id: str, metadata: ElementMetadata
    ) -> File | ArtStoreError:
        self.asked.append(endpoint)
        return self.answers[endpoint]


async def no_metadata(element_id: str) -> tuple[tuple[str, str], ...]:
    return ()


MISSING = NotFound("no such file")


async def test_an_element_of_a_moment_ago_is_asked_before_a_file_is_nowhere() -> None:
    directory = Directory({"se-01": "a:1"}, {"se-04": "a:4"})
    elements = Answering(directory, {"a:1": MISSING, "a:4": File(file_id="x")})
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

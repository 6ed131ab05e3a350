"""Asking an element about many ids: what it answered is kept, whatever follows."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import grpc
import pytest

from artstore.v1 import storage_pb2
from artstore.v1.types_pb2 import File
from mesh.calls.status import to_trailing_metadata
from mesh.errors import Unavailable
from mesh.follower import lookups
from mesh.follower.lookups import FileLookups

Code = grpc.StatusCode


def failure(code: Code, *, retry_after_seconds: float = 0.0) -> grpc.aio.AioRpcError:
    details = to_trailing_metadata(Unavailable("busy", retry_after_seconds=retry_after_seconds))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*details), "no")


class Answering:
    """Answers by the first letter of the id; ids of `busy` only when they are asked again.

    Attributes:
        batches: ids of each call.
        takes_seconds: a call.
        most_ids: more of them do not get done within the deadline.
    """

    def __init__(self, *, retry_after_seconds: float = 0.0, most_ids: int = 10**6) -> None:
        self.asked: Counter[str] = Counter()
        self.batches: list[list[str]] = []
        self.began: list[float] = []
        self.takes_seconds = 0.0
        self.most_ids = most_ids
        self.retry_after_seconds = retry_after_seconds

    async def BatchGetFiles(
        self, request: storage_pb2.BatchGetFilesRequest, **_: Any
    ) -> storage_pb2.BatchGetFilesResponse:
        ids = list(request.file_ids)
        self.batches.append(ids)
        self.began.append(asyncio.get_running_loop().time())
        self.asked.update(ids)
        await asyncio.sleep(self.takes_seconds)
        if len(ids) > self.most_ids:
            raise failure(Code.DEADLINE_EXCEEDED)
        if any(one[0] == "b" and self.asked[one] == 1 for one in ids):
            raise failure(Code.UNAVAILABLE, retry_after_seconds=self.retry_after_seconds)
        for letter, code in (
            ("d", Code.DATA_LOSS),
            ("i", Code.INTERNAL),
            ("u", Code.UNAVAILABLE),
        ):
            if any(one[0] == letter for one in ids):
                raise failure(code)
        return storage_pb2.BatchGetFilesResponse(
            files=[File(file_id=one) for one in ids if one[0] != "n"],
            missing_file_ids=[one for one in ids if one[0] == "n"],
        )


async def no_metadata() -> Any:
    return ()


def files_of(element: Answering) -> FileLookups:
    return FileLookups(element, no_metadata)  # type: ignore[arg-type]


async def test_answers_are_told_apart_and_a_busy_element_is_asked_again() -> None:
    element = Answering()
    ids = [f"{kind}{n}" for kind in "fnd" for n in range(5)] + ["b"]
    answers = await files_of(element).look_up(ids)
    assert sorted(file.file_id for file in answers.found) == ["b", "f0", "f1", "f2", "f3", "f4"]
    assert sorted(answers.gone) == [f"n{n}" for n in range(5)]
    assert sorted(answers.unknown) == [f"d{n}" for n in range(5)]


async def test_many_ids_are_asked_in_batches_with_rests_between_them() -> None:
    element = Answering()
    element.takes_seconds = 0.02
    files = files_of(element)
    ids = [f"n{n}" for n in range(lookups.BATCH * 2 + 1)]
    assert sorted((await files.look_up(ids)).gone) == sorted(ids)
    await files.look_up(["n"])
    assert [len(batch) for batch in element.batches] == [lookups.BATCH, lookups.BATCH, 1, 1]
    pauses = [later - earlier for earlier, later in pairwise(element.began)]
    assert min(pauses) >= 0.02 * (1 + lookups.RESTS) * 0.9


async def test_what_is_too_much_at_once_is_asked_in_smaller_batches() -> None:
    element = Answering(most_ids=30)
    ids = [f"n{n}" for n in range(100)]
    assert sorted((await files_of(element).look_up(ids)).gone) == sorted(ids)


async def test_what_an_element_does_not_speak_of_is_not_gone() -> None:
    class Forgetful(Answering):
        async def BatchGetFiles(self, request: Any, **_: Any) -> storage_pb2.BatchGetFilesResponse:
            return storage_pb2.BatchGetFilesResponse()

    assert (await files_of(Forgetful()).look_up(["n1", "f1"])).gone == []


async def test_the_element_says_when_to_ask_again() -> None:
    element = Answering(retry_after_seconds=0.4)
    started = asyncio.get_running_loop().time()
    await files_of(element).look_up(["b"])
    assert asyncio.get_running_loop().time() - started >= 0.4


async def test_any_other_answer_ends_it() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await files_of(Answering()).look_up(["f1", "i1", "f2"])
    assert ended.value.code() is Code.INTERNAL


async def test_an_element_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async with asyncio.timeout(5):
            await files_of(Answering()).look_up(["u1"])
    assert ended.value.code() is Code.UNAVAILABLE

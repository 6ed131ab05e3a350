"""Asking an element about many ids: what it answered is kept, whatever follows."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest

from artstore.v1 import storage_pb2 as pb
from artstore.v1.types_pb2 import File
from mesh.errors import Unavailable
from mesh.follower import lookups
from mesh.follower.lookups import ElementFiles
from mesh.status import to_trailing_metadata

Code = grpc.StatusCode


def failure(code: Code, *, retry_after_seconds: float = 0.0) -> grpc.aio.AioRpcError:
    details = to_trailing_metadata(Unavailable("busy", retry_after_seconds=retry_after_seconds))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*details), "no")


class FakeElement:
    """Answers by the first letter of the id; ids of `busy` only when they are asked again."""

    def __init__(self, *, retry_after_seconds: float = 0.0) -> None:
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.retry_after_seconds = retry_after_seconds

    async def GetFile(self, request: Any, **_: Any) -> pb.StorageServiceGetFileResponse:
        self.asked[request.file_id] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        kind = request.file_id[0]
        if kind == "b" and self.asked[request.file_id] == 1:
            raise failure(Code.UNAVAILABLE, retry_after_seconds=self.retry_after_seconds)
        codes = {
            "n": Code.NOT_FOUND,
            "d": Code.DATA_LOSS,
            "i": Code.INTERNAL,
            "u": Code.UNAVAILABLE,
        }
        if kind in codes:
            raise failure(codes[kind])
        return pb.StorageServiceGetFileResponse(file=File(file_id=request.file_id))


async def no_metadata() -> Any:
    return ()


def files_of(element: FakeElement) -> ElementFiles:
    return ElementFiles(element, no_metadata)  # type: ignore[arg-type]


async def test_answers_are_told_apart_and_a_busy_element_is_asked_again_for_that_id_only() -> None:
    element = FakeElement()
    ids = [f"{kind}{n}" for kind in "fnd" for n in range(5)] + ["b"]
    answers = await files_of(element).look_up(ids)
    assert sorted(file.file_id for file in answers.found) == ["b", "f0", "f1", "f2", "f3", "f4"]
    assert sorted(answers.gone) == [f"n{n}" for n in range(5)]
    assert sorted(answers.unknown) == [f"d{n}" for n in range(5)]
    assert element.asked == Counter(ids) + Counter(["b"])
    assert element.most_at_once == 2


async def test_the_element_says_when_to_ask_again() -> None:
    element = FakeElement(retry_after_seconds=0.4)
    started = asyncio.get_running_loop().time()
    await files_of(element).look_up(["b"])
    assert asyncio.get_running_loop().time() - started >= 0.4


async def test_any_other_answer_ends_it() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await files_of(FakeElement()).look_up(["f1", "i1", "f2"])
    assert ended.value.code() is Code.INTERNAL


async def test_an_element_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async with asyncio.timeout(5):
            await files_of(FakeElement()).look_up(["u1"])
    assert ended.value.code() is Code.UNAVAILABLE

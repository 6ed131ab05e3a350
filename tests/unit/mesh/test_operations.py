"""Operations: whose an id is, how they are stopped, and what is counted of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from artstore.v1 import operations_pb2 as pb
from mesh.errors import Aborted, AlreadyExists, InvalidArgument, NotFound, Unavailable
from mesh.operations import Operation, Operations, State
from mesh.operations.servicer import OperationServicer
from mesh.redaction import without_quotes


def counting(results: list[int]) -> Callable[[Operation], Awaitable[int]]:
    """Work that answers how often it has run."""

    async def work(operation: Operation) -> int:
        results.append(len(results) + 1)
        return results[-1]

    return work


async def failing(operation: Operation) -> int:
    raise Unavailable("down")


async def endless(operation: Operation) -> int:
    operation.begin("listing")
    await asyncio.Event().wait()
    return 0


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_one_request_with_one_id_runs_once_while_it_runs_and_shortly_after() -> None:
    operations, runs = Operations(), list[int]()
    answers = await asyncio.gather(
        *(operations.run("check", "mine", counting(runs), asked="full") for _ in range(3))
    )
    assert answers == [1, 1, 1]
    assert await operations.run("check", "mine", counting(runs), asked="full") == 1


async def test_an_id_runs_again_once_its_result_is_old() -> None:
    operations, runs = Operations(answered_again_seconds=0), list[int]()
    assert await operations.run("check", "nightly", counting(runs)) == 1
    assert await operations.run("check", "nightly", counting(runs)) == 2
    assert operations.find("nightly").state is State.SUCCEEDED


@pytest.mark.parametrize(("other_type", "other_asked"), [("full", "quick"), ("check", "deep")])
async def test_another_request_is_not_answered_with_the_result_of_the_first(
    other_type: str, other_asked: str
) -> None:
    operations, runs = Operations(), list[int]()
    await operations.run("check", "mine", counting(runs), asked="quick")
    with pytest.raises(AlreadyExists):
        await operations.run(other_type, "mine", counting(runs), asked=other_asked)
    assert runs == [1]


async def test_the_id_of_an_operation_that_failed_is_free_at_once() -> None:
    operations, runs = Operations(), list[int]()
    with pytest.raises(Unavailable):
        await operations.run("check", "mine", failing)
    assert operations.find("mine").state is State.FAILED
    assert await operations.run("full", "mine", counting(runs)) == 1


async def test_an_id_must_be_one() -> None:
    with pytest.raises(InvalidArgument):
        await Operations().run("check", "no id", failing)


@pytest.mark.parametrize("steps_before", [0, 1, 5])
async def test_a_cancelled_operation_ends_however_early_it_was_told(steps_before: int) -> None:
    operations = Operations()
    running = asyncio.create_task(operations.run("check", "mine", endless))
    await asyncio.sleep(0)
    for _ in range(steps_before):
        await asyncio.sleep(0)
    operation = operations.find("mine")
    operations.cancel("mine")
    with pytest.raises(Aborted) as stopped:
        await running
    assert stopped.value.reason == "CANCELLED"
    assert operation.state is State.CANCELLED


async def test_a_server_that_stops_ends_what_has_only_just_begun() -> None:
    operations = Operations()
    running = asyncio.create_task(operations.run("check", "mine", endless))
    await asyncio.sleep(0)
    await operations.stop()
    assert operations.find("mine").state is State.CANCELLED
    with pytest.raises(Aborted):
        await running


async def test_files_are_counted_once_whatever_the_number_of_phases() -> None:
    async def phases(operation: Operation) -> None:
        operation.begin("listing")
        operation.advance(60)
        operation.advance(40)
        operation.begin("merging")
        operation.advance(100)
        operation.begin("dropping")

    before = metric("artstore_cache_operation_files_total", operation="full")
    await Operations().run("full", "", phases)
    assert metric("artstore_cache_operation_files_total", operation="full") == before + 100
    assert metric("artstore_cache_operation_files_per_second", operation="full") > 100


async def test_a_watcher_sees_how_far_it_is_and_how_fast() -> None:
    operation = Operation("mine", "check")
    operation.begin("listing", total=100)
    moves = operation.moves()
    operation.advance(40, findings=2)
    assert moves.take()
    assert (operation.done, operation.total, operation.findings) == (40, 100, 2)
    assert operation.rate > 40
    operation.begin("hashing", total=10)
    assert (operation.done, operation.total, operation.rate) == (0, 10, 0)


async def test_one_that_starts_between_two_pages_doubles_none() -> None:
    operations = Operations()
    servicer = OperationServicer(operations)
    for name in ("first", "second", "third"):
        await operations.run("check", name, counting([]))
    request = pb.ListOperationsRequest(page_size=2)
    page = await servicer.ListOperations(request, None)
    await operations.run("check", "fourth", counting([]))
    request.page_token = page.next_page_token
    rest = await servicer.ListOperations(request, None)
    told = [one.operation_id for one in (*page.operations, *rest.operations)]
    assert told == ["third", "second", "first"]
    assert not rest.next_page_token


@pytest.mark.parametrize("asked", ["secret", "secret" * 20_000])
def test_an_operation_that_is_not_there_is_quoted_and_cut_off(asked: str) -> None:
    with pytest.raises(NotFound) as refused:
        Operations().find(asked)
    assert len(refused.value.message) < 100
    assert without_quotes(refused.value.message) == "no operation '…'"

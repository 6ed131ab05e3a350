"""Who gives way to whom on the cache of an element, seen by parallel callers through gRPC.

A rebuild or a cleanup is held in the middle of its work by an operator's lock on the table of
files, so that nothing here depends on how long work takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from artstore.v1 import accounts_pb2, cache_pb2, operations_pb2, storage_pb2, types_pb2
from tests.acceptance.element_operator import Operator, same
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside, error_info
from tests.support.waiting import wait_until

ELEMENT = "se-02"
# The mesh is told to hash slowly: a DEEP check takes some seconds for this.
BIG = bytes(4 * 1024 * 1024)
AT_ONCE_SECONDS = 0.8


@pytest.fixture(scope="module")
def outside(slow_mesh: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(slow_mesh.file) as caller:
        yield caller


@pytest.fixture(scope="module")
def auditor(outside: Outside) -> Iterator[Outside]:
    """A caller of role AUDITOR."""
    with outside.account(accounts_pb2.ROLE_AUDITOR, "*") as caller:
        yield caller


@pytest.fixture(scope="module")
def operator(slow_mesh: MeshProcess) -> Operator:
    """The operator of the element."""
    return Operator(slow_mesh, ELEMENT)


@pytest.fixture(scope="module")
def all_files(outside: Outside) -> list[types_pb2.File]:
    """Some files of the element, the first of them big."""
    contents = {"big.bin": BIG, "a.txt": b"a", "b.txt": b"b", "c.txt": b"c"}
    return [outside.upload_to(ELEMENT, content, name) for name, content in contents.items()]


@pytest.fixture
def files(
    all_files: list[types_pb2.File], outside: Outside, operator: Operator
) -> Iterator[list[types_pb2.File]]:
    """The small files; their rows are there and fresh, and nobody holds a lock."""
    outside.rebuild(ELEMENT, wait_seconds=10)
    operator.wait_until_followed()
    yield all_files[1:]
    wait_until(lambda: not locks(outside), 5.0, "all locks are given back")


def locks(caller: Outside) -> list[cache_pb2.Lock]:
    """The locks that are held on the element."""
    return list(caller.cache(ELEMENT).ListLocks(cache_pb2.ListLocksRequest(), **caller.auth).locks)


def begin(caller: Outside, call: str, **asked: Any) -> grpc.Future:
    """Begin one of the four long calls, or stop one."""
    stops = call == "CancelOperation"
    stub = caller.operations(ELEMENT) if stops else caller.cache(ELEMENT)
    request = getattr(operations_pb2 if stops else cache_pb2, f"{call}Request")(**asked)
    begun: grpc.Future = getattr(stub, call).future(request, **caller.auth)
    return begun


def refused(begun: grpc.Future) -> Any:
    """The ErrorInfo of a call that must end ABORTED."""
    error = begun.exception()
    assert isinstance(error, grpc.RpcError), begun.result()
    assert error.code() is grpc.StatusCode.ABORTED, error
    return error_info(error)


def last_news(caller: Outside, operation_id: str) -> operations_pb2.Operation:
    """Watch an operation to its end."""
    request = operations_pb2.WatchOperationRequest(operation_id=operation_id)
    news = [
        one.operation for one in caller.operations(ELEMENT).WatchOperation(request, **caller.auth)
    ]
    assert {one.operation_id for one in news} == {operation_id}
    last: operations_pb2.Operation = news[-1]
    return last


def wait_phase(caller: Outside, operation_id: str, phase: str) -> None:
    """Wait until an operation has come so far."""

    def reached() -> bool:
        request = operations_pb2.WatchOperationRequest(operation_id=operation_id)
        stream = caller.operations(ELEMENT).WatchOperation(request, **caller.auth)
        try:
            word = f"OPERATION_PHASE_{phase.upper()}"
            reached = operations_pb2.OperationPhase.Value(word)
            return bool(next(iter(stream)).operation.phase == reached)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        finally:
            stream.cancel()

    wait_until(reached, 10.0, f"{operation_id} is {phase}")


def timed(call: Callable[[], types_pb2.File]) -> types_pb2.File:
    """Do a call that must answer at once."""
    began = time.monotonic()
    answer = call()
    assert time.monotonic() - began < AT_ONCE_SECONDS
    return answer


def test_running_rebuild_refuses_no_reader(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    expired, missing, fresh = files
    before = outside.get(ELEMENT, expired.file_id)
    operator.age(expired.file_id)
    operator.lose_rows(missing.file_id)
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache")
        wait_blocked()
        got = timed(lambda: outside.get(ELEMENT, expired.file_id))
        assert got.cache_stale
        assert got.cache_expired
        assert got.sha256 == before.sha256
        got = timed(lambda: outside.get(ELEMENT, missing.file_id))
        assert got.cache_stale
        assert got.original_filename == missing.original_filename
        assert not timed(lambda: outside.get(ELEMENT, fresh.file_id)).cache_stale
        for file, content in zip(files, (b"a", b"b", b"c"), strict=True):
            assert outside.download(ELEMENT, file.file_id)[1] == content
        assert not running.done()
    assert running.result().result.statistics.entries_created == 1
    for file in files:
        got = outside.get(ELEMENT, file.file_id)
        assert not got.cache_stale
        assert not got.cache_expired
    assert same(outside.get(ELEMENT, expired.file_id)) == same(before)


@pytest.mark.parametrize("winner", ["RebuildCache", "RebuildCacheIncremental"])
def test_rebuild_takes_over_a_check(
    outside: Outside, files: list[types_pb2.File], winner: str
) -> None:
    name = f"check-before-{winner}"
    check = begin(outside, "CheckConsistency", level=cache_pb2.CHECK_LEVEL_DEEP, operation_id=name)
    wait_phase(outside, name, "hashing")
    assert [lock.kind for lock in locks(outside)] == [cache_pb2.LOCK_KIND_MANUAL_CHECK]
    assert begin(outside, winner).result().result.error_count == 0
    info = refused(check)
    assert info.reason == "PREEMPTED"
    assert info.metadata["operation"] == "MANUAL_REBUILD"
    news = last_news(outside, name)
    assert news.state == operations_pb2.OPERATION_STATE_PREEMPTED
    assert news.error


@pytest.mark.parametrize("winner", ["RebuildCache", "RebuildCacheIncremental", "CheckConsistency"])
def test_rebuild_and_check_take_over_a_cleanup(
    outside: Outside, operator: Operator, files: list[types_pb2.File], winner: str
) -> None:
    operator.age(files[0].file_id)
    name = f"cleanup-before-{winner}"
    with operator.writes_blocked() as wait_blocked:
        cleanup = begin(outside, "CleanupExpired", operation_id=name)
        wait_blocked()
        winning = begin(outside, winner)
        info = refused(cleanup)
        assert info.reason == "PREEMPTED"
        assert info.metadata["operation"].startswith("MANUAL_")
    winning.result()
    assert last_news(outside, name).state == operations_pb2.OPERATION_STATE_PREEMPTED
    assert files[0].file_id in operator.rows()


def test_equal_and_higher_holders_refuse_and_name_themselves(
    slow_mesh: MeshProcess, outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache", operation_id="the-holder")
        wait_blocked()
        (lock,) = locks(outside)
        assert lock.kind == cache_pb2.LOCK_KIND_MANUAL_REBUILD
        assert lock.operation_id == "the-holder"
        assert lock.holder.endswith(f":{slow_mesh.pid_of(ELEMENT)}")
        assert lock.fence > 0
        for call in (
            "RebuildCache", "RebuildCacheIncremental", "CheckConsistency", "CleanupExpired",
        ):  # fmt: skip
            info = refused(begin(outside, call))
            assert info.reason == "LOCK_HELD", call
            assert info.metadata["holder"] == lock.holder
            assert info.metadata["operation"] == "MANUAL_REBUILD"
            since = datetime.fromisoformat(info.metadata["since"])
            expires = datetime.fromisoformat(info.metadata["expires"])
            assert since < datetime.now(UTC) < expires
    running.result()


def test_watcher_sees_phase_progress_and_findings_of_a_running_check(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    name = "watched"
    check = begin(outside, "CheckConsistency", level=cache_pb2.CHECK_LEVEL_DEEP, operation_id=name)
    wait_phase(outside, name, "hashing")
    asked = operations_pb2.WatchOperationRequest(operation_id=name)
    stream = outside.operations(ELEMENT).WatchOperation(asked, **outside.auth)
    seen = [next(stream).operation]
    # The big file is the first to be hashed; the check then keeps to its rate.
    while seen[-1].done < 1 and seen[-1].state == operations_pb2.OPERATION_STATE_RUNNING:
        seen.append(next(stream).operation)
    stop(outside, name)
    assert refused(check).reason == "CANCELLED"
    last = seen[-1]
    assert (last.kind, last.requested_by) == (
        operations_pb2.OPERATION_KIND_CHECK,
        outside.file.client_id,
    )
    assert (last.done, last.total, last.findings) == (1, 3, 1)
    assert last.phase == operations_pb2.OPERATION_PHASE_HASHING
    assert last.rate > 0
    assert last.started_at.seconds > 0


def test_locks_are_listed_in_pages(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(*(file.file_id for file in files))
    with operator.writes_blocked() as wait_blocked:
        # Reading a file whose row is gone takes the lock of its refresh.
        reads = [begin_reading(outside, file.file_id) for file in files]
        wait_blocked()
        wait_until(lambda: len(locks(outside)) == len(files), 5.0, "each refresh has its lock")
        everything = locks(outside)
        paged: list[cache_pb2.Lock] = []
        token = ""
        for page_number in range(len(files)):
            asked = cache_pb2.ListLocksRequest(page_size=1, page_token=token)
            page = outside.cache(ELEMENT).ListLocks(asked, **outside.auth)
            assert page.total_size == len(files)
            paged += page.locks
            token = page.next_page_token
            assert bool(token) == (page_number + 1 < len(files))
        assert {lock.file_id for lock in paged} == {file.file_id for file in files}
        assert [lock.fence for lock in paged] == [lock.fence for lock in everything]
    for read in reads:
        read.result()
    with pytest.raises(grpc.RpcError) as refusal:
        asked = cache_pb2.ListLocksRequest(page_token="no token")
        outside.cache(ELEMENT).ListLocks(asked, **outside.auth)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def begin_reading(caller: Outside, file_id: str) -> grpc.Future:
    """Begin to read a file's metadata."""
    request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
    begun: grpc.Future = caller.storage(ELEMENT).GetFile.future(request, **caller.auth)
    return begun


def test_second_check_is_refused_by_the_first(
    outside: Outside, files: list[types_pb2.File]
) -> None:
    first = begin(
        outside, "CheckConsistency", level=cache_pb2.CHECK_LEVEL_DEEP, operation_id="first-check"
    )
    wait_phase(outside, "first-check", "hashing")
    for call in ("CheckConsistency", "CleanupExpired"):
        info = refused(begin(outside, call))
        assert (info.reason, info.metadata["operation"]) == ("LOCK_HELD", "MANUAL_CHECK")
    stop(outside, "first-check")
    assert refused(first).reason == "CANCELLED"


def stop(caller: Outside, operation_id: str) -> int:
    """Cancel an operation; the state it had."""
    request = operations_pb2.CancelOperationRequest(operation_id=operation_id)
    state: int = caller.operations(ELEMENT).CancelOperation(request, **caller.auth).operation.state
    return state


def test_wait_seconds_are_waited_and_no_more(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache")
        wait_blocked()
        began = time.monotonic()
        impatient = begin(outside, "CheckConsistency", wait_seconds=1)
        patient = begin(outside, "RebuildCacheIncremental", wait_seconds=20, operation_id="waits")
        assert refused(impatient).reason == "LOCK_HELD"
        assert 1 <= time.monotonic() - began < 1 + AT_ONCE_SECONDS
        wait_phase(outside, "waits", "waiting")
        assert not patient.done()
    assert running.result().result.statistics.entries_created == 1
    assert patient.result().result.statistics.entries_created == 0


def test_rebuild_whose_lock_is_released_writes_no_more(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    release = outside.cache(ELEMENT).ReleaseLock
    asked = {"kind": cache_pb2.LOCK_KIND_MANUAL_REBUILD}
    operator.lose_rows()
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache", operation_id="released")
        wait_blocked()
        (lock,) = locks(outside)
        other = cache_pb2.ReleaseLockRequest(**asked, fence=lock.fence + 1)
        assert not release(other, **outside.auth).released
        mine = cache_pb2.ReleaseLockRequest(**asked, fence=lock.fence)
        assert release(mine, **outside.auth).released
        assert refused(running).reason == "LOCK_LOST"
    assert last_news(outside, "released").state == operations_pb2.OPERATION_STATE_PREEMPTED
    assert operator.rows() == {}
    assert locks(outside) == []
    assert not release(cache_pb2.ReleaseLockRequest(**asked), **outside.auth).released
    assert outside.rebuild(ELEMENT).statistics.entries_created == len(files) + 1


def test_cancelled_rebuild_gives_its_lock_back_at_once(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows()
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache", operation_id="cancelled")
        wait_blocked()
        assert stop(outside, "cancelled") == operations_pb2.OPERATION_STATE_RUNNING
        assert refused(running).reason == "CANCELLED"
        assert locks(outside) == []
    assert last_news(outside, "cancelled").state == operations_pb2.OPERATION_STATE_CANCELLED
    assert stop(outside, "cancelled") == operations_pb2.OPERATION_STATE_CANCELLED
    assert outside.rebuild(ELEMENT).statistics.entries_created == len(files) + 1


def test_rebuild_goes_on_when_its_caller_leaves(
    outside: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    with operator.writes_blocked() as wait_blocked:
        running = begin(outside, "RebuildCache", operation_id="left-alone")
        wait_blocked()
        running.cancel()
    news = last_news(outside, "left-alone")
    assert news.state == operations_pb2.OPERATION_STATE_SUCCEEDED
    assert news.phase == operations_pb2.OPERATION_PHASE_DONE
    assert files[0].file_id in operator.rows()


def test_unknown_operations_are_not_found(outside: Outside, files: list[types_pb2.File]) -> None:
    for call in (lambda: stop(outside, "nobody"), lambda: last_news(outside, "nobody")):
        with pytest.raises(grpc.RpcError) as refusal:
            call()
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


def test_auditor_looks_and_changes_nothing(
    outside: Outside, auditor: Outside, operator: Operator, files: list[types_pb2.File]
) -> None:
    operator.lose_rows(files[0].file_id)
    report = auditor.check(ELEMENT)
    assert report.orphan_attr_count == 1
    assert last_news(auditor, report.operation_id).state == operations_pb2.OPERATION_STATE_SUCCEEDED
    assert locks(auditor) == []
    rows = operator.rows()
    assert_denied(auditor, "RebuildCache", "RebuildCacheIncremental", "CleanupExpired")
    assert_denied(auditor, "CancelOperation", "ReleaseLock")
    assert operator.rows() == rows


@pytest.mark.parametrize("role", [accounts_pb2.ROLE_READONLY, accounts_pb2.ROLE_USER])
def test_users_have_no_part_in_the_cache(outside: Outside, role: accounts_pb2.Role) -> None:
    with outside.account(role) as caller:
        assert_denied(caller, "CheckConsistency", "RebuildCache", "RebuildCacheIncremental")
        assert_denied(caller, "CleanupExpired", "ListLocks", "ReleaseLock", "CancelOperation")


def assert_denied(caller: Outside, *calls: str) -> None:
    """The role may not do these."""
    for call in calls:
        error = begin(caller, call).exception()
        assert isinstance(error, grpc.RpcError), call
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED, call

"""Ingest passes finalizations on to admin, and admin's answers back."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from artstore.v1 import ingest_pb2, lifecycle_pb2
from mesh.errors import Aborted, FailedPrecondition, NotFound
from tests.integration.ingest.conftest import IngestUnderTest
from tests.integration.ingest.fakes import status_of
from tests.support.outside import error_info

FINALIZE = lifecycle_pb2.TRANSFER_KIND_FINALIZE


def finalize(ingest: IngestUnderTest, **fields: Any) -> Any:
    request = ingest_pb2.FinalizeFileRequest(file_id="x", **fields)
    return ingest.stub.FinalizeFile(request, metadata=ingest.bearer(), timeout=10)


def get(ingest: IngestUnderTest, **fields: Any) -> Any:
    request = ingest_pb2.GetFinalizationRequest(**fields)
    return ingest.stub.GetFinalization(request, metadata=ingest.bearer(), timeout=10)


async def test_admin_is_asked_to_finalize_for_the_caller(ingest: IngestUnderTest) -> None:
    lifecycle = ingest.registry.lifecycle
    answer = await finalize(ingest, target_storage_element_id="se-03", expected_revision=0)
    assert answer.transfer == lifecycle.transfer
    await finalize(ingest)
    (first, who, call), (second, _, _) = lifecycle.asked
    assert (first.file_id, first.kind, who) == ("x", FINALIZE, "alice")
    assert first.target_storage_element_id == "se-03"
    assert first.HasField("expected_revision")
    assert not second.HasField("expected_revision")
    assert call


@pytest.mark.parametrize(
    "refusal",
    [
        FailedPrecondition("there is none", reason="NO_ELEMENT", metadata={"mode": "rw"}),
        Aborted("changed", reason="REVISION_CONFLICT", metadata={"revision": "2"}),
        NotFound("no such file"),
    ],
)
async def test_what_admin_refuses_is_told_as_it_was(ingest: IngestUnderTest, refusal: Any) -> None:
    ingest.registry.lifecycle.refuses = refusal
    error = await status_of(finalize(ingest))
    assert error_info(error).reason == refusal.reason
    assert error.details() == refusal.message


async def test_a_finalization_is_described_by_its_id_or_its_file(ingest: IngestUnderTest) -> None:
    lifecycle = ingest.registry.lifecycle
    lifecycle.transfer.kind = FINALIZE
    assert (await get(ingest, transfer_id="t-1")).transfer == lifecycle.transfer
    assert (await get(ingest, file_id="x")).transfer == lifecycle.transfer
    by_id, by_file = (asked for asked, _, _ in lifecycle.asked)
    assert (by_id.transfer_id, by_id.file_id) == ("t-1", "")
    assert (by_file.transfer_id, by_file.file_id, by_file.kind) == ("", "x", FINALIZE)
    neither = await status_of(get(ingest))
    assert neither.code() is grpc.StatusCode.INVALID_ARGUMENT
    lifecycle.transfer.kind = lifecycle_pb2.TRANSFER_KIND_MOVE
    moved = await status_of(get(ingest, transfer_id="t-1"))
    assert moved.code() is grpc.StatusCode.NOT_FOUND

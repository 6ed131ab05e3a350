"""What one element says of a file, another one understands whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from artstore.v1 import types_pb2
from mesh.errors import InvalidArgument
from storage_server.domain.sidecar import Sidecar
from storage_server.rpc.messages import file_message, sidecar_of_message
from storage_server.writing.view import of_sidecar
from tests.support.sidecars import any_sidecar


@given(any_sidecar)
def test_a_sidecar_that_was_told_is_the_same(sidecar: Sidecar) -> None:
    told = file_message(of_sidecar(sidecar, 24, stale=False), "se-01")
    # Neither is told: what only tools wrote, and days that are none.
    untold = replace(
        sidecar, unknown="", schema_version=1, retention_days=sidecar.retention_days or None
    )
    assert sidecar_of_message(told, field="home") == untold


def test_what_is_no_file_is_refused() -> None:
    for file in (types_pb2.File(), types_pb2.File(file_id="x", state=types_pb2.FILE_STATE_ACTIVE)):
        with pytest.raises(InvalidArgument):
            sidecar_of_message(file, field="home")

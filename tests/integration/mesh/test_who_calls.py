"""Who calls is said once, and whom a server speaks for must be allowed to make the call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from artstore.v1 import storage_pb2
from mesh.contract import AUTHORIZATION_KEY, CALLER_KEY, TICKET_KEY, UPLOAD_TOKEN_KEY
from tests.integration.mesh.serving import Serving, serving, upload_chunk
from tests.support.caller import ended

GET_FILE = storage_pb2.StorageServiceGetFileRequest(file_id="f")


@pytest.fixture(scope="module")
async def mesh() -> AsyncIterator[Serving]:
    async with serving() as made:
        yield made


@pytest.mark.parametrize("key", [AUTHORIZATION_KEY, CALLER_KEY, UPLOAD_TOKEN_KEY, TICKET_KEY])
@pytest.mark.parametrize("same", [True, False])
async def test_what_says_who_calls_is_refused_when_it_is_sent_twice(
    mesh: Serving, key: str, same: bool
) -> None:
    bearer = mesh.bearer(role="SERVICE")
    good = bearer[0][1] if key == AUTHORIZATION_KEY else mesh.signer.token(sub="alice")
    first = () if key == AUTHORIZATION_KEY else ((key, good),)
    again = (key, good if same else mesh.bearer(sub="mallory", role="ADMIN")[0][1])
    ending = await ended(mesh.stub.GetFile(GET_FILE, metadata=(*bearer, *first, again)))
    assert (ending.name, ending.reason) == ("UNAUTHENTICATED", "TOKEN_MALFORMED")


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("READONLY", "OK", "PERMISSION_DENIED"),
        ("AUDITOR", "OK", "PERMISSION_DENIED"),
        ("USER", "OK", "OK"),
    ],
)
async def test_roles_of_whom_a_server_speaks_for_are_looked_at_as_well(
    mesh: Serving, role: str, reads: str, writes: str
) -> None:
    behind = (
        *mesh.bearer(sub="ingest", role="SERVICE"),
        (CALLER_KEY, mesh.signer.token(role=role)),
    )
    assert (await ended(mesh.stub.GetFile(GET_FILE, metadata=behind))).name == reads
    upload = mesh.stub.Upload(metadata=behind)
    await upload.write(upload_chunk())
    await upload.done_writing()
    ending = await ended(upload)
    assert ending.name == writes
    assert ending.reason == ("" if writes == "OK" else "ROLE_DENIED")

"""Steps as admin takes them: signed with the key that it has in its database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from admin_server.keys.signing_key import SigningKey, signing_key_from_pem
from artstore.v1 import storage_pb2, transfers_pb2, transfers_pb2_grpc, types_pb2
from mesh.identity.tickets import TICKET_TYPE, Ticket
from mesh.identity.tokens import AUDIENCE, ISSUER, TOKEN_TYPE
from tests.integration.feed.small_mesh import SmallMesh

Metadata = tuple[tuple[str, str], ...]


class AdminsHand:
    """Takes steps on the elements of a small mesh."""

    def __init__(self, mesh: SmallMesh, key: SigningKey) -> None:
        self._mesh = mesh
        self._key = key

    @classmethod
    async def of(cls, mesh: SmallMesh) -> AdminsHand:
        connection = await asyncpg.connect(mesh.admin_url)
        try:
            row = await connection.fetchrow(
                "SELECT kid, public_key, private_key, signs_from FROM signing_keys"
                " WHERE signs_from <= now() ORDER BY signs_from DESC LIMIT 1"
            )
        finally:
            await connection.close()
        assert row is not None
        return cls(mesh, signing_key_from_pem(*row))

    def token(self, element_id: str, *, sub: str = "admin-server", admin: bool = True) -> Metadata:
        """A token of a SERVICE account for one element (empty: for all servers)."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": f"{AUDIENCE}/{element_id}" if element_id else AUDIENCE,
            "sub": sub,
            "role": "SERVICE",
            "ns_read": ["*"],
            "ns_write": ["*"],
            "iat": now,
            "exp": now + 900,
        }
        if admin:
            claims["admin"] = True
        return (("authorization", f"Bearer {self._key.sign(claims, typ=TOKEN_TYPE)}"),)

    def ticket(self, file: types_pb2.File, source: str, target: str, **changes: Any) -> str:
        """For the transfer of a file."""
        values: dict[str, Any] = {
            "file_id": file.file_id,
            "sha256": file.sha256,
            "size_bytes": file.size_bytes,
            "crc32c": file.crc32c,
            "source": source,
            "target": target,
            "account": f"storage-{target}",
        }
        now = int(time.time())
        claims = Ticket(**values | changes).claims(issued_at=now, expires_at=now + 900)
        return self._key.sign(claims, typ=TICKET_TYPE)

    async def look(self, element_id: str, file_id: str) -> Any:
        """What an element answers to servers of a file."""
        node = self._mesh.elements[element_id]
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id, show_deleted=True)
        return await node.stub.GetFile(request, metadata=self.token(element_id), timeout=10)

    def condition(self, file_id: str, digest: str) -> transfers_pb2.Condition:
        found = transfers_pb2.Condition(file_id=file_id, digest=digest)
        found.decided_at.GetCurrentTime()
        return found

    async def take(self, element_id: str, method: str, request: Any) -> Any:
        """A step with one answer."""
        stub = transfers_pb2_grpc.TransferServiceStub(self._mesh.elements[element_id].channel)
        call = getattr(stub, method)
        return await call(request, metadata=self.token(element_id), timeout=20)

    async def pull(
        self, element_id: str, ticket: str, condition: transfers_pb2.Condition, **values: Any
    ) -> AsyncIterator[transfers_pb2.PullFileResponse]:
        """What an element tells of a pull."""
        stub: Any = transfers_pb2_grpc.TransferServiceStub(self._mesh.elements[element_id].channel)
        request = transfers_pb2.PullFileRequest(
            ticket=ticket,
            condition=condition,
            **{"state": types_pb2.FILE_STATE_INCOMING} | values,
        )
        async for told in stub.PullFile(request, metadata=self.token(element_id), timeout=60):
            yield told

"""An admin server as the tests of its audit ask it, and get at its database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg

from artstore.v1 import accounts_pb2, audit_pb2, audit_pb2_grpc
from tests.support.running_admin import (
    ADMIN,
    AUDITOR,
    SECRET,
    SERVICE,
    USER,
    RunningAdmin,
)

EVERYBODY = [
    ADMIN,
    USER,
    AUDITOR | {"namespaces": ["*"]},
    SERVICE | {"namespaces": ["*"]},
    {"client_id": "auditor-of-one", "client_secret": SECRET, "role": "AUDITOR"},
]


class Audited:
    """An admin with stubs of its audit, and its database."""

    def __init__(self, admin: RunningAdmin, database_url: str, folder: Path) -> None:
        self.admin = admin
        self.url = f"{database_url}_admin"
        self.folder = folder
        self.stub: Any = audit_pb2_grpc.AuditServiceStub(admin.channel)

    async def page(self, who: str = "auditor", **fields: Any) -> audit_pb2.ListAuditEventsResponse:
        wanted = {
            name: fields.pop(name) for name in ("actor", "action", "resource") if name in fields
        }
        request = audit_pb2.ListAuditEventsRequest(filter=audit_pb2.AuditFilter(**wanted), **fields)
        answer: audit_pb2.ListAuditEventsResponse = await self.stub.ListAuditEvents(
            request, **await self.admin.as_(who)
        )
        return answer

    async def events(self, **wanted: Any) -> list[audit_pb2.AuditEvent]:
        """All that match, oldest first."""
        return list(reversed((await self.page(page_size=1000, **wanted)).events))

    async def verify(self, **fields: Any) -> audit_pb2.VerifyAuditEventsResponse:
        answer: audit_pb2.VerifyAuditEventsResponse = await self.stub.VerifyAuditEvents(
            audit_pb2.VerifyAuditEventsRequest(**fields), **await self.admin.as_("auditor")
        )
        return answer

    async def broken(self, **fields: Any) -> int:
        """The first event that does not fit."""
        verdict = await self.verify(**fields)
        assert not verdict.valid
        return int(verdict.first_broken_sequence)

    async def change_accounts(self, count: int, prefix: str = "robot") -> None:
        for n in range(count):
            await self.admin.accounts.CreateServiceAccount(
                accounts_pb2.CreateServiceAccountRequest(
                    client_id=f"{prefix}-{n}", role=accounts_pb2.ROLE_USER
                ),
                **await self.admin.as_("admin"),
            )

    async def refuse(self, *refusals: audit_pb2.Refusal, server: str = "se-01", **more: Any) -> int:
        request = audit_pb2.RecordRefusalsRequest(server=server, refusals=refusals, **more)
        answer = await self.stub.RecordRefusals(
            iter([request]), **await self.admin.as_("storage-se-01")
        )
        return int(answer.recorded_count)

    async def sql(self, *statements: str) -> None:
        """As somebody who has got at the database."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def refusal(refusal_id: str, **fields: Any) -> audit_pb2.Refusal:
    values: dict[str, Any] = {
        "refusal_id": refusal_id,
        "actor": "eve",
        "action": "DeleteFile",
        "reason": "ROLE_DENIED",
        "count": 3,
    }
    return audit_pb2.Refusal(**values | fields)

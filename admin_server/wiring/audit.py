"""The audit: what is put on record, and who may read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from admin_server.audit.chain import Chain
from admin_server.audit.cursors import AuditCursors
from admin_server.audit.following import AuditFollowing
from admin_server.audit.kept_head import KEEP_SECONDS, KeptHead
from admin_server.audit.refusals import RefusalRecord
from admin_server.chores import repeat
from admin_server.elements.registered import RegisteredElements
from admin_server.prepared_database import PreparedDatabase
from admin_server.registry.following import OwnToken, endpoints_of
from admin_server.rpc.audit import AuditServicer
from admin_server.settings import AdminSettings
from mesh.calls.channels import open_mesh_channel
from mesh.concurrency.background import Background
from mesh.follower import process_name
from mesh.server.announced import partly
from mesh.server.server import MeshServer

SERVICE = "artstore.v1.AuditService"


@dataclass(frozen=True, slots=True)
class Audit:
    """One of each per process.

    Attributes:
        chain: of all events.
        head: of the chain, kept in a file.
        following: puts what the elements tell on record.
    """

    chain: Chain
    head: KeptHead
    following: AuditFollowing

    def serve(self, server: MeshServer) -> None:
        """Show it, and put on record what servers refuse, admin too."""
        servicer = AuditServicer(self.chain, self.head, RefusalRecord(self.chain.database))
        server.tell_refusals_to(servicer.record)
        server.add(SERVICE, partly(SERVICE), servicer)

    def start(self, background: Background, database: PreparedDatabase) -> None:
        """What goes on by itself, once admin's database is there."""

        async def follow() -> None:
            await database.prepared.wait()
            await self.following.run()

        background.start("audit", follow)
        background.start("audit's head", partial(repeat, self.head.keep, KEEP_SECONDS))


def wire_audit(
    settings: AdminSettings,
    database: PreparedDatabase,
    elements: RegisteredElements,
    token: OwnToken,
) -> Audit:
    """Nothing is asked yet."""
    chain = Chain(database)
    return Audit(
        chain=chain,
        head=KeptHead(settings.data_dir / "audit" / "head.json", chain),
        following=AuditFollowing(
            AuditCursors(database, leader=process_name()),
            elements=partial(endpoints_of, elements),
            open_channel=lambda at: open_mesh_channel(at, settings, health_service=None),
            metadata=token.metadata,
            refused=token.refused,
        ),
    )

"""The audit: what is put on record, and who may read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from admin_server.audit.chain import Chain
from admin_server.audit.kept_head import KEEP_SECONDS, KeptHead
from admin_server.audit.refusals import RefusalRecord
from admin_server.chores import repeat
from admin_server.rpc.audit import AuditServicer
from admin_server.settings import AdminSettings
from mesh.concurrency.background import Background
from mesh.postgres.database import Database
from mesh.server.announced import partly
from mesh.server.server import MeshServer

SERVICE = "artstore.v1.AuditService"


@dataclass(frozen=True, slots=True)
class Audit:
    """One of each per process.

    Attributes:
        chain: of all events.
        head: of the chain, kept in a file.
    """

    chain: Chain
    head: KeptHead

    def serve(self, server: MeshServer) -> None:
        """Show it, and put on record what servers refuse, admin too."""
        servicer = AuditServicer(self.chain, self.head, RefusalRecord(self.chain.database))
        server.tell_refusals_to(servicer.record)
        server.add(SERVICE, partly(SERVICE), servicer)

    def start(self, background: Background) -> None:
        """What goes on by itself."""
        background.start("audit's head", partial(repeat, self.head.keep, KEEP_SECONDS))


def wire_audit(settings: AdminSettings, database: Database) -> Audit:
    """Nothing is asked yet."""
    chain = Chain(database)
    return Audit(chain=chain, head=KeptHead(settings.data_dir / "audit" / "head.json", chain))

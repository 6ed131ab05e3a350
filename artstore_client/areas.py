"""What a client can do besides files, area by area."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from artstore_client.accounts import AccountCalls, KeyCalls
from artstore_client.admission import AdmissionCalls
from artstore_client.audit import AuditCalls
from artstore_client.calls.connection import Connection
from artstore_client.collections import CollectionCalls
from artstore_client.erasure import ErasureCalls
from artstore_client.mesh_check import MeshCheckCalls
from artstore_client.open_uploads import OpenUploads
from artstore_client.policies import PolicyCalls
from artstore_client.retention import RetentionCalls
from artstore_client.transfers import Transferring
from artstore_client.trash import TrashCalls


class Areas(Transferring):
    """The areas of a client.

    Attributes:
        accounts: accounts of people and servers.
        admission: which storage elements there may be.
        keys: the keys that tokens are signed with.
        audit: who did what.
        erasure: files that must stay, and files of which nothing may stay.
        collections: what the mesh takes away by itself.
        trash: deleted files that can be brought back.
        mesh_check: all files of the mesh compared with each other.
        open_uploads: uploads that are open: which there are, and ending them.
        transfers: files on their way from one element to another.
        policies: what holds for the files of each namespace.
        retention: how long files are kept.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection
        self.accounts = AccountCalls(connection)
        self.admission = AdmissionCalls(connection)
        self.keys = KeyCalls(connection)
        self.audit = AuditCalls(connection)
        self.erasure = ErasureCalls(connection)
        self.collections = CollectionCalls(connection)
        self.trash = TrashCalls(connection)
        self.mesh_check = MeshCheckCalls(connection)
        self.open_uploads = OpenUploads(connection)
        self.policies = PolicyCalls(connection)
        self.retention = RetentionCalls(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()

"""What a client can do besides files, area by area."""

from __future__ import annotations

from artstore_client.accounts import AccountCalls, KeyCalls
from artstore_client.admission import AdmissionCalls
from artstore_client.audit import AuditCalls
from artstore_client.calls.connection import Connection
from artstore_client.open_uploads import OpenUploads


class Areas:
    """The areas of a client.

    Attributes:
        accounts: accounts of people and servers.
        admission: which storage elements there may be.
        keys: the keys that tokens are signed with.
        audit: who did what.
        open_uploads: uploads that are open: which there are, and ending them.
    """

    def __init__(self, connection: Connection) -> None:
        self.accounts = AccountCalls(connection)
        self.admission = AdmissionCalls(connection)
        self.keys = KeyCalls(connection)
        self.audit = AuditCalls(connection)
        self.open_uploads = OpenUploads(connection)

"""Who is calling: verified by the authentication interceptor, read anywhere below it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mesh.contract import DEFAULT_NAMESPACE
from mesh.errors import PermissionDenied
from mesh.identity.limits import Limits

ALL_NAMESPACES = "*"


class Role(StrEnum):
    """What an account is for. No role includes another: `mesh.identity.roles` lists each one."""

    ANONYMOUS = "ANONYMOUS"
    READONLY = "READONLY"
    USER = "USER"
    AUDITOR = "AUDITOR"
    SERVICE = "SERVICE"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True)
class Caller:
    """One verified identity.

    Attributes:
        subject: account name, what created_by records.
        role: its only role.
        namespaces_read: namespaces it may read; `"*"` means all.
        namespaces_write: namespaces it may write; `"*"` means all.
        token: the raw access token, to be passed on as metadata; empty when anonymous.
        limits: how much it may take at a time.
        from_admin: it is admin itself, with a token for this element alone.
        for_this_element: its token is good at this element alone.
        issued_at: when the token was issued, seconds since 1970.
        expires_at: when the token ends, seconds since 1970.
    """

    subject: str
    role: Role
    namespaces_read: frozenset[str] = frozenset()
    namespaces_write: frozenset[str] = frozenset()
    token: str = field(default="", repr=False, compare=False)
    limits: Limits = field(default_factory=Limits)
    from_admin: bool = field(default=False, compare=False)
    for_this_element: bool = field(default=False, compare=False)
    issued_at: float = field(default=0.0, compare=False)
    expires_at: float = field(default=float("inf"), compare=False)

    def may_read(self, namespace: str) -> bool:
        """Whether files of `namespace` may be seen; an empty name is `default`."""
        allowed = self.namespaces_read
        return ALL_NAMESPACES in allowed or (namespace or DEFAULT_NAMESPACE) in allowed

    def may_write(self, namespace: str) -> bool:
        """Whether files of `namespace` may be made or changed; an empty name is `default`."""
        allowed = self.namespaces_write
        return ALL_NAMESPACES in allowed or (namespace or DEFAULT_NAMESPACE) in allowed

    def within(self, peer: Caller) -> Caller:
        """This caller as far as `peer`, who passes it on, reaches itself."""
        read = _within(self.namespaces_read, peer.namespaces_read)
        write = _within(self.namespaces_write, peer.namespaces_write)
        if (read, write) == (self.namespaces_read, self.namespaces_write):
            return self
        return replace(self, namespaces_read=read, namespaces_write=write)

    def require_write(self, namespace: str) -> None:
        """
        Raises:
            PermissionDenied: files of `namespace` may not be made or changed.
        """
        if not self.may_write(namespace):
            raise PermissionDenied(
                f"the token may not write to namespace {namespace[:64]!r}", reason="NAMESPACE"
            )


def _within(namespaces: frozenset[str], limit: frozenset[str]) -> frozenset[str]:
    if ALL_NAMESPACES in limit:
        return namespaces
    return limit if ALL_NAMESPACES in namespaces else namespaces & limit


ANONYMOUS = Caller(subject="anonymous", role=Role.ANONYMOUS)

current_request_id: ContextVar[str] = ContextVar("artstore_request_id", default="")
"""The id of the call, in each log line and passed on; empty outside of calls."""

current_file_id: ContextVar[str] = ContextVar("artstore_file_id", default="")
"""Of the file that a call is about, for its line in the log, where no message of it says that."""

_caller: ContextVar[Caller] = ContextVar("artstore_caller", default=ANONYMOUS)
_upload_token: ContextVar[str] = ContextVar("artstore_upload_token", default="")
_ticket: ContextVar[str] = ContextVar("artstore_ticket", default="")


def current_caller() -> Caller:
    """On whose behalf the call is made; what created_by and namespaces go by."""
    return _caller.get()


def current_upload_token() -> str:
    """The raw `artstore-upload-token` of this call, empty if none was sent."""
    return _upload_token.get()


def current_ticket() -> str:
    """The raw `artstore-ticket` of this call, empty if none was sent."""
    return _ticket.get()


def set_current(caller: Caller, upload_token: str = "", ticket: str = "") -> None:
    """Make these those of the current task. Each call runs in a task of its own."""
    _caller.set(caller)
    _upload_token.set(upload_token)
    _ticket.set(ticket)

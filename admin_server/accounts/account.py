"""A service account, and what makes one well-formed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime

from admin_server.accounts.limits import GivenLimits
from mesh.contract import DEFAULT_NAMESPACE, MAX_NAMESPACE_BYTES
from mesh.errors import InvalidArgument
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role

CLIENT_ID = re.compile(r"[a-z0-9_.-]{3,64}")
MAX_DESCRIPTION_BYTES = 1024
# Both lists travel in each token, and a token must fit into a call's metadata.
MAX_NAMESPACES_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Account:
    """An account without its secret.

    Attributes:
        client_id: 3 to 64 of a-z, 0-9, `-`, `_`, `.`.
        namespaces: it may read and write these; `*` means all, none means `default`.
        read_namespaces: it may read these besides.
        suspended: it gets no tokens.
        created_by: who made it, `bootstrap` for those of the bootstrap file.
        old_secret_ends_at: until when the secret before the last rotation is good; None if it
            is not.
        tokens_after: its tokens are issued after that second: those of before are refused.
        limits: those it was given.
    """

    client_id: str
    role: Role
    namespaces: tuple[str, ...]
    read_namespaces: tuple[str, ...]
    description: str
    suspended: bool
    created_at: datetime
    created_by: str
    rotated_at: datetime
    old_secret_ends_at: datetime | None = None
    tokens_after: datetime | None = None
    limits: GivenLimits = field(default_factory=GivenLimits)

    @property
    def writable(self) -> tuple[str, ...]:
        """Namespaces that its tokens may write, never none."""
        return self.namespaces or (DEFAULT_NAMESPACE,)

    @property
    def readable(self) -> tuple[str, ...]:
        """Namespaces that its tokens may read, never none."""
        both = dict.fromkeys((*self.writable, *self.read_namespaces))
        return (ALL_NAMESPACES,) if ALL_NAMESPACES in both else tuple(both)

    @property
    def governs(self) -> bool:
        """Whether it is an ADMIN that may log in: one such is always left."""
        return self.role is Role.ADMIN and not self.suspended

    @property
    def governs_all(self) -> bool:
        """Whether it is one of all namespaces: of these, too, one is always left."""
        return self.governs and ALL_NAMESPACES in self.writable

    def as_caller(self) -> Caller:
        """Who calls with a token that it would be given now."""
        return Caller(
            subject=self.client_id,
            role=self.role,
            namespaces_read=frozenset(self.readable),
            namespaces_write=frozenset(self.writable),
            limits=self.limits.whole(),
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account with the Argon2id hashes of its secrets.

    Attributes:
        previous_secret_hash: of the secret before the last rotation, good until the account's
            `old_secret_ends_at`; None if there is none.
    """

    account: Account
    secret_hash: str = field(repr=False)
    previous_secret_hash: str | None = field(default=None, repr=False)


def is_client_id(text: str) -> bool:
    """Whether an account could have that name."""
    return CLIENT_ID.fullmatch(text) is not None


def check_client_id(client_id: str) -> None:
    """
    Raises:
        InvalidArgument: no account could have that name.
    """
    if not is_client_id(client_id):
        raise InvalidArgument(
            "client_id is 3 to 64 characters of a-z, 0-9, `-`, `_`, `.`", field="client_id"
        )


def check_role(role: Role) -> None:
    """
    Raises:
        InvalidArgument: accounts cannot have that role.
    """
    if role is Role.ANONYMOUS:
        raise InvalidArgument(
            "role is one of READONLY, USER, AUDITOR, SERVICE, ADMIN", field="role"
        )


def check_description(description: str) -> None:
    """
    Raises:
        InvalidArgument: it is too long or holds NUL.
    """
    if len(description.encode()) > MAX_DESCRIPTION_BYTES or "\0" in description:
        raise InvalidArgument(
            f"description is at most {MAX_DESCRIPTION_BYTES} bytes of text without NUL",
            field="description",
        )


def takes_away(before: Account, after: Account) -> bool:
    """Whether a token of before may do what one of after may not.

    No role includes another, so every change of it takes something away.
    """
    old, new = before.as_caller(), after.as_caller()
    limits = zip(astuple(old.limits), astuple(new.limits), strict=True)
    return (
        old.role is not new.role
        or not all(new.may_read(name) for name in old.namespaces_read)
        or not all(new.may_write(name) for name in old.namespaces_write)
        or any(less < more for more, less in limits)
    )


def namespaces_for(role: Role, namespaces: Sequence[str]) -> tuple[str, ...]:
    """The namespaces of a new account, each once: a server has all if none are named."""
    if not namespaces and role is Role.SERVICE:
        return (ALL_NAMESPACES,)
    return tuple(dict.fromkeys(namespaces))


def check_namespaces(namespaces: Sequence[str], read_namespaces: Sequence[str]) -> None:
    """
    Raises:
        InvalidArgument: a name cannot be that of a namespace, or there are too many.
    """
    for name_of_field, names in (("namespaces", namespaces), ("read_namespaces", read_namespaces)):
        for name in names:
            if name != ALL_NAMESPACES and not _is_namespace(name):
                raise InvalidArgument(
                    f"a namespace is `*`, or 1 to {MAX_NAMESPACE_BYTES} bytes of printable text"
                    " without `*`",
                    field=name_of_field,
                )
    if len(json.dumps([*namespaces, *read_namespaces])) > MAX_NAMESPACES_BYTES:
        raise InvalidArgument(
            f"namespaces and read_namespaces take more than {MAX_NAMESPACES_BYTES} bytes:"
            " a token could not hold them",
            field="namespaces",
        )


def _is_namespace(name: str) -> bool:
    usable = name.strip() == name and name.isprintable() and "*" not in name
    return bool(name) and usable and len(name.encode()) <= MAX_NAMESPACE_BYTES

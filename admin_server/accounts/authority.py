"""What an account may give: nothing that it has not itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from admin_server.accounts.account import Account
from mesh.errors import PermissionDenied
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role
from mesh.identity.limits import Limits


def check_governs(caller: Caller, account: Account) -> None:
    """Check that the caller could have made this account: it may change and remove it then.

    Raises:
        PermissionDenied: it is no ADMIN, or the account reaches further than it does.
    """
    if caller.role is not Role.ADMIN:
        raise PermissionDenied(f"role {caller.role} may not change accounts", reason="ROLE_DENIED")
    _check_reach(account, account.readable, caller.namespaces_read)
    _check_reach(account, account.writable, caller.namespaces_write)


def sees(caller: Caller, account: Account) -> bool:
    """Whether the caller may know of this account: it reaches a namespace that the caller reads."""
    return ALL_NAMESPACES in account.readable or any(map(caller.may_read, account.readable))


def check_gives(caller: Caller, limits: Limits) -> None:
    """Check that the caller may give an account these limits.

    Raises:
        PermissionDenied: one is above the default and above the caller's own, and the caller
            reaches only some of the namespaces: the room and the servers are everybody's.
    """
    if caller.may_write(ALL_NAMESPACES):
        return
    default, own = asdict(Limits()), asdict(caller.limits)
    for name, value in asdict(limits).items():
        if value > max(default[name], own[name]):
            raise PermissionDenied(
                f"limits.{name} above {max(default[name], own[name])} concerns all namespaces:"
                " an ADMIN with namespaces `*` may give it",
                reason="NAMESPACE",
            )


def _check_reach(account: Account, reached: Iterable[str], own: frozenset[str]) -> None:
    if ALL_NAMESPACES in own:
        return
    if account.role is Role.SERVICE:
        raise PermissionDenied(
            f"{account.client_id} is a server's account, which concerns all namespaces: that"
            " takes an account with namespaces `*`",
            reason="NAMESPACE",
        )
    if set(reached) - own:
        raise PermissionDenied(
            f"{account.client_id} reaches namespaces that this account does not reach",
            reason="NAMESPACE",
        )

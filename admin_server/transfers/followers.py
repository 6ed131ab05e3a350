"""Servers that follow the elements and would take what is moved for active: nothing moves then."""

from __future__ import annotations

from admin_server.accounts.table import AccountTable
from admin_server.elements.registered import RegisteredElements
from mesh.errors import FailedPrecondition
from mesh.identity.caller import Caller, Role


class Followers:
    """Who follows without knowing the states of files that move, as the elements report it.

    Args:
        own_name: what admin calls elements by; another admin of this mesh may be the older one.
    """

    def __init__(
        self, elements: RegisteredElements, accounts: AccountTable, *, own_name: str
    ) -> None:
        self._elements = elements
        self._accounts = accounts
        self._own_name = own_name

    async def require_none_behind(self, caller: Caller) -> None:
        """
        Args:
            caller: is told their names if it is an ADMIN.

        Raises:
            FailedPrecondition: there is one whose account may still log in.
            Unavailable: the database is down.
        """
        told = {
            name for element in self._elements.joined() for name in element.report.followers_behind
        }
        if not told:
            return
        behind = sorted((await self._accounts.usable(told)) | (told & {self._own_name}))
        if not behind:
            return
        why = "no file is moved while a server that follows does not know the states of those that"
        if caller.role is not Role.ADMIN:
            raise FailedPrecondition(f"{why} move: an ADMIN is told which one is to be upgraded")
        raise FailedPrecondition(
            f"{why} move: upgrade {', '.join(behind)}, or suspend the account of one that is no"
            " more, then try again",
            metadata={"accounts": ",".join(behind)},
        )

"""Making an element known, with the account that alone reports for it."""

from __future__ import annotations

import secrets

import structlog

from admin_server.accounts.bindings import Bindings, account_named_after
from admin_server.accounts.directory import AccountDirectory
from admin_server.accounts.limits import GivenLimits
from admin_server.elements.element import RegisteredElement
from admin_server.elements.registered import RegisteredElements
from mesh.errors import AlreadyExists, FailedPrecondition
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role

_log = structlog.stdlib.get_logger(__name__)


class Creation:
    """Makes elements; what was cut short is completed by doing it again."""

    def __init__(
        self, elements: RegisteredElements, accounts: AccountDirectory, bindings: Bindings
    ) -> None:
        self._elements = elements
        self._accounts = accounts
        self._bindings = bindings

    async def create(
        self, giver: Caller, storage_element_id: str, *, endpoint: str, priority: int | None
    ) -> tuple[RegisteredElement, str, str]:
        """Make an element; answers it, its account and that one's secret.

        An element that is there and has lost its account gets a new one.

        Raises:
            PermissionDenied: the giver has not all namespaces.
            InvalidArgument: an argument is wrong.
            AlreadyExists: it is there, and an account reports for it.
            FailedPrecondition: somebody else gave it an account at the same time.
            Unavailable: the database is down.
        """
        await self._elements.add(storage_element_id, endpoint=endpoint, priority=priority)
        client_id, secret = await self._account(giver, storage_element_id)
        if not await self._bindings.bind(client_id, storage_element_id):
            await self._accounts.delete(giver, client_id)
            raise FailedPrecondition(
                f"{storage_element_id} was given an account at the same time; look at it again"
            )
        await self._elements.look_again()
        _log.info("element made", storage_element_id=storage_element_id, client_id=client_id)
        return self._elements.get(storage_element_id), client_id, secret

    async def _account(self, giver: Caller, storage_element_id: str) -> tuple[str, str]:
        name = account_named_after(storage_element_id)
        for client_id in (name, f"{name}-{secrets.token_hex(3)}"):
            try:
                account, secret = await self._accounts.create(
                    giver,
                    client_id=client_id,
                    role=Role.SERVICE,
                    namespaces=(ALL_NAMESPACES,),
                    read_namespaces=(),
                    description=f"storage element {storage_element_id}",
                    limits=GivenLimits(),
                )
            except AlreadyExists:
                # Somebody's account, or that of a creation that was cut short.
                continue
            return account.client_id, secret
        raise AlreadyExists(f"there is an account {name} already")

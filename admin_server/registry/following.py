"""Follows every element into the registry, with a token that admin gives itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from admin_server.accounts.account import Account
from admin_server.clock import Clock
from admin_server.elements.registered import RegisteredElements
from admin_server.keys.issuer import TokenIssuer
from admin_server.registry.replicas import RegistryReplicas
from admin_server.settings import AdminSettings
from mesh.calls.channels import open_mesh_channel
from mesh.contract import AUTHORIZATION_KEY
from mesh.errors import Unavailable
from mesh.follower import FollowerFleet
from mesh.identity.caller import ALL_NAMESPACES, Role
from mesh.identity.tokens import audience_of
from mesh.postgres.database import Database

RENEW_SHARE = 0.5
STATUS_AGE_SECONDS = 0.5


class OwnToken:
    """SERVICE tokens for admin's own calls, one for each element, made anew after half a life."""

    def __init__(self, issuer: TokenIssuer, client_id: str, *, now: Clock) -> None:
        moment = now()
        self._issuer = issuer
        self._account = Account(
            client_id=client_id,
            role=Role.SERVICE,
            namespaces=(ALL_NAMESPACES,),
            read_namespaces=(),
            description="admin itself",
            suspended=False,
            created_at=moment,
            created_by="admin",
            rotated_at=moment,
        )
        # By element: the token, and when it is made anew.
        self._tokens: dict[str, tuple[str, float]] = {}

    def refused(self, element_id: str) -> None:
        """An element does not take its token, perhaps since the key was changed: a new one."""
        self._tokens.pop(element_id, None)

    async def metadata(self, element_id: str) -> Sequence[tuple[str, str]]:
        """Metadata of a call of that element, and of no other.

        Raises:
            Unavailable: there is no signing key yet.
        """
        token, renew_at = self._tokens.get(element_id, ("", 0.0))
        if time.monotonic() >= renew_at:
            issued = self._issuer.issue(self._account, audience_of(element_id), for_admin=True)
            token = issued.access_token
            renew_at = time.monotonic() + issued.expires_in_seconds * RENEW_SHARE
            self._tokens[element_id] = token, renew_at
        return ((AUTHORIZATION_KEY, f"Bearer {token}"),)


def endpoints_of(elements: RegisteredElements) -> Mapping[str, str]:
    """id -> host:port of the elements that are admitted; none while they are not known."""
    try:
        known = elements.called()
    except Unavailable:
        return {}
    return {one.storage_element_id: one.endpoint for one in known}


def registry_fleet(
    settings: AdminSettings, database: Database, elements: RegisteredElements, token: OwnToken
) -> FollowerFleet:
    """The followers of all registered elements."""
    return FollowerFleet(
        table=RegistryReplicas(database),
        elements=partial(endpoints_of, elements),
        knows_all=lambda: elements.loaded,
        open_channel=lambda endpoint: open_mesh_channel(endpoint, settings, health_service=None),
        metadata=token.metadata,
        refused=token.refused,
        reconcile_seconds=settings.reconcile_seconds,
    )


async def unread_elements(
    fleet: FollowerFleet, elements: RegisteredElements, *, silent: bool = True
) -> list[str]:
    """Ids of the elements that may have files which the registry lacks: silent, or not read yet.

    Args:
        silent: False leaves out those that are silent now and were read whole before.

    Raises:
        Unavailable: the database is down, or the elements are not known yet.
    """
    statuses = await fleet.progress.statuses(STATUS_AGE_SECONDS)
    complete = {status.element_id for status in statuses if status.complete}
    unread = [
        element.storage_element_id
        for element in elements.joined()
        if element.storage_element_id not in complete
        or (silent and not elements.is_healthy(element))
    ]
    return [*unread, *elements.unheard()]

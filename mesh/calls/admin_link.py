"""What every server but admin needs of admin: its keys, its list of those whose tokens are refused,
and a token for the server itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import orjson
import structlog

from artstore.v1 import audit_pb2, audit_pb2_grpc, tokens_pb2, tokens_pb2_grpc
from mesh.calls.channels import open_mesh_channel
from mesh.calls.policy_list import AdminsPolicies, follow_policies
from mesh.calls.status import from_rpc_error
from mesh.calls.suspension_list import AdminsList, follow_suspensions
from mesh.concurrency.background import Background
from mesh.concurrency.backoff import Backoff
from mesh.errors import ArtStoreError
from mesh.identity.credentials import ElementTokens, ServiceToken
from mesh.identity.policies import Policies
from mesh.identity.suspensions import Suspensions
from mesh.identity.tokens import AUDIENCE, KeySet, TokenVerifier
from mesh.settings import MeshSettings

CALL_TIMEOUT_SECONDS = 2.0
KEYS_INTERVAL_SECONDS = 30.0
KEYS_RETRY_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AdminLink:
    """The connection to admin and what is kept of its answers.

    Attributes:
        channel: for stubs of admin's services.
        keys: admin's public keys; known from disk when admin is away.
        verifier: for `MeshServer`.
        account: this server's own token, for calls of admin.
        element_tokens: its tokens for calls of elements.
        policies: of the namespaces; followed by elements alone.
    """

    channel: grpc.aio.Channel
    keys: KeySet
    verifier: TokenVerifier
    account: ServiceToken
    element_tokens: ElementTokens
    policies: Policies

    async def tell_refusals(self, request: audit_pb2.RecordRefusalsRequest) -> None:
        """Have admin put on record what this server refused.

        Raises:
            ArtStoreError: it is not on record, or that is not known; tell the same again.
        """
        stub: Any = audit_pb2_grpc.AuditServiceStub(self.channel)
        try:
            await stub.RecordRefusals(
                iter((request,)), metadata=self.account.metadata(), timeout=CALL_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc


@asynccontextmanager
async def link_to_admin(
    settings: MeshSettings,
    background: Background,
    *,
    now: Callable[[], float] = time.time,
    element_id: str = "",
) -> AsyncIterator[AdminLink]:
    """Open the link; it works in the background and never waits for admin.

    Args:
        now: seconds since 1970 that tokens are judged by.
        element_id: of the element that this server is; empty for others.
    """
    channel = open_mesh_channel(settings.admin_address, settings)
    stub = tokens_pb2_grpc.TokenServiceStub(channel)

    async def fetch_keys() -> Mapping[str, Any]:
        try:
            answer = await stub.GetJwks(tokens_pb2.GetJwksRequest(), timeout=CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc
        keys: Mapping[str, Any] = orjson.loads(answer.jwks_json)
        return keys

    async def issue_token(audience: str = AUDIENCE) -> tuple[str, float]:
        request = tokens_pb2.IssueTokenRequest(
            client_id=settings.client_id,
            client_secret=settings.client_secret.get_secret_value(),
            audience=audience,
        )
        try:
            answer = await stub.IssueToken(request, timeout=CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc
        return answer.access_token, float(answer.expires_in_seconds)

    keys = await asyncio.to_thread(KeySet, settings.keys_file, fetch_keys)
    suspensions = await asyncio.to_thread(Suspensions, settings.suspensions_file)
    account, element_tokens = ServiceToken(issue_token), ElementTokens(issue_token)

    async def follow_keys() -> None:
        backoff = Backoff(KEYS_RETRY_SECONDS)
        while True:
            try:
                await keys.refresh()
                await asyncio.sleep(KEYS_INTERVAL_SECONDS)
            except ArtStoreError as exc:
                _log.debug(
                    "signing keys not refreshed", reason=exc.message, cause=repr(exc.__cause__)
                )
                await backoff.pause()

    background.start("signing keys", follow_keys)
    if settings.client_id:
        background.start("own access token", account.renew)
        background.start("tokens for elements", element_tokens.renew)

    async def renew_what_was_ended() -> None:
        rings = suspensions.bell.listen()
        while True:
            rings.take()
            if settings.client_id in suspensions:
                account.refused()
                element_tokens.all_refused()
            await rings.wait()

    background.start("renewal of an ended token", renew_what_was_ended)
    admins_list = AdminsList(channel, account)
    background.start(
        "suspensions",
        partial(follow_suspensions, suspensions, admins_list, settings.redis_url),
    )
    admins_policies = AdminsPolicies(channel, account)
    policies = await _policies(settings, background, admins_policies) if element_id else Policies()
    try:
        verifier = TokenVerifier(keys, now, element_id=element_id, suspensions=suspensions)
        yield AdminLink(channel, keys, verifier, account, element_tokens, policies)
    finally:
        await channel.close()


async def _policies(
    settings: MeshSettings, background: Background, admins: AdminsPolicies
) -> Policies:
    """The policies of namespaces, followed from now on."""
    policies = await asyncio.to_thread(Policies, settings.policies_file)
    background.start("policies", partial(follow_policies, policies, admins))
    return policies

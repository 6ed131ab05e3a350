"""Following admin's list of the policies of namespaces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import structlog

from artstore.v1 import lifecycle_pb2, lifecycle_pb2_grpc
from mesh.calls.admins_lists import pages
from mesh.contract import MAX_PAGE_SIZE
from mesh.errors import ArtStoreError, PermissionDenied
from mesh.identity.credentials import ServiceToken
from mesh.identity.policies import Policies, Policy

if TYPE_CHECKING:
    from artstore.v1.lifecycle_pb2_grpc import LifecycleServiceAsyncStub

POLL_SECONDS = 5.0
# Each refusal is put on record.
REFUSED_SECONDS = 60.0
CALL_SECONDS = 5.0

_VALUES = (
    "default_retention_days",
    "max_retention_days",
    "copies",
    "max_copies",
    "trash_days",
    "quota_bytes",
)

_log = structlog.stdlib.get_logger(__name__)


class AdminsPolicies:
    """The list as admin answers it.

    Args:
        account: this server's own token.
    """

    def __init__(self, channel: grpc.aio.Channel, account: ServiceToken) -> None:
        self._stub: LifecycleServiceAsyncStub = lifecycle_pb2_grpc.LifecycleServiceStub(channel)
        self._account = account

    async def read(self) -> list[Policy]:
        """The whole list.

        Raises:
            ArtStoreError: admin is down or silent, does not take the token, or gave none.
        """
        request = lifecycle_pb2.ListPoliciesRequest(page_size=MAX_PAGE_SIZE)
        found: list[Policy] = []
        async for page in pages(
            self._stub.ListPolicies, request, self._account, seconds=CALL_SECONDS
        ):
            found += map(policy_of, page.policies)
        return found


def policy_of(message: lifecycle_pb2.Policy) -> Policy:
    """A policy as a message says it."""
    values = {name: getattr(message, name) for name in _VALUES if message.HasField(name)}  # type: ignore[arg-type]
    return Policy(message.namespace, **values, used_bytes=message.used_bytes)


def message_of(policy: Policy) -> lifecycle_pb2.Policy:
    """The message that says a policy."""
    return lifecycle_pb2.Policy(
        namespace=policy.namespace,
        used_bytes=policy.used_bytes,
        **{name: getattr(policy, name) for name in _VALUES},
    )


async def follow_policies(policies: Policies, admin: AdminsPolicies) -> None:
    """Go by admin's list, else by what is known, until cancelled."""
    told = ""
    while True:
        reason, pause = "", POLL_SECONDS
        try:
            policies.take(await admin.read())
            await policies.keep()
        except ArtStoreError as error:
            if isinstance(error, PermissionDenied):
                pause = REFUSED_SECONDS
            reason = f"admin does not tell them: {error.message}"
        except OSError as error:
            reason = f"they cannot be kept on disk: {error}"
        if reason != told:
            _log.info("policies followed", reason=reason or "all is well")
            told = reason
        await asyncio.sleep(pause)

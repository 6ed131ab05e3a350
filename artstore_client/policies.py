"""What holds for the files of each namespace (ADMIN)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from artstore.v1 import lifecycle_pb2
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE


class PolicyCalls:
    """Policies of namespaces, at admin; get it from `Client.policies`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, namespace: str) -> lifecycle_pb2.Policy:
        """That of a namespace; one that was never set has nothing but the bytes that are used."""
        answer = await self._connection.calls.unary(
            self._connection.lifecycle().GetPolicy,
            lifecycle_pb2.GetPolicyRequest(namespace=namespace),
            doing="GetPolicy on admin",
        )
        return answer.policy

    async def set(self, policy: lifecycle_pb2.Policy) -> lifecycle_pb2.Policy:
        """Replace that of a namespace: what is unset has its default from then on.

        Elements follow within seconds.

        Raises:
            InvalidArgument: a value is out of range, or a default more than the largest.
        """
        answer = await self._connection.calls.unary(
            self._connection.lifecycle().SetPolicy,
            lifecycle_pb2.SetPolicyRequest(policy=policy),
            doing="SetPolicy on admin",
        )
        return answer.policy

    async def list(self) -> AsyncGenerator[lifecycle_pb2.Policy, None]:
        """Those that were set, by namespace."""

        async def ask(token: str) -> lifecycle_pb2.ListPoliciesResponse:
            return await self._connection.calls.unary(
                self._connection.lifecycle().ListPolicies,
                lifecycle_pb2.ListPoliciesRequest(page_size=MAX_PAGE_SIZE, page_token=token),
                doing="ListPolicies on admin",
            )

        async for page in pages(ask):
            for policy in page.policies:
                yield policy

"""The part of LifecycleService that is about the policies of namespaces."""

from __future__ import annotations

from admin_server.policies.policy import require_good, require_namespace
from admin_server.policies.table import PolicyTable, SetPolicy
from admin_server.policies.usage import Usage
from admin_server.rpc.times import timestamp
from artstore.v1 import lifecycle_pb2
from mesh.calls.policy_list import message_of, policy_of
from mesh.identity.caller import Role, current_caller
from mesh.paging import AskedPage


class PolicyCalls:
    """What holds for the files of each namespace."""

    def __init__(self, table: PolicyTable, usage: Usage) -> None:
        self._table = table
        self._usage = usage

    async def get(self, request: lifecycle_pb2.GetPolicyRequest) -> lifecycle_pb2.GetPolicyResponse:
        """That of one namespace."""
        require_namespace(request.namespace)
        return lifecycle_pb2.GetPolicyResponse(policy=await self._told(request.namespace))

    async def set(self, request: lifecycle_pb2.SetPolicyRequest) -> lifecycle_pb2.SetPolicyResponse:
        """Replace that of one namespace."""
        policy = policy_of(request.policy)
        require_good(policy)
        await self._table.put(policy)
        return lifecycle_pb2.SetPolicyResponse(policy=await self._told(policy.namespace))

    async def list(
        self, request: lifecycle_pb2.ListPoliciesRequest
    ) -> lifecycle_pb2.ListPoliciesResponse:
        """Those that were set. What is used is counted for a server where there is a quota."""
        asked = AskedPage.of(request, ("policies",), str)
        after = asked.after[0] if asked.after else ""
        found, total = await self._table.page(after, asked.size + 1)
        page, token = asked.page(found, lambda one: (one.policy.namespace,))
        server = current_caller().role is Role.SERVICE
        used = await self._usage.lately(
            [
                one.policy.namespace
                for one in page
                if not server or one.policy.quota_bytes is not None
            ]
        )
        return lifecycle_pb2.ListPoliciesResponse(
            policies=[_message(one, used.get(one.policy.namespace, 0)) for one in page],
            next_page_token=token,
            total_size=total,
        )

    async def _told(self, namespace: str) -> lifecycle_pb2.Policy:
        return _message(await self._table.get(namespace), await self._usage.of(namespace))


def _message(one: SetPolicy, used_bytes: int) -> lifecycle_pb2.Policy:
    message = message_of(one.policy)
    message.used_bytes = used_bytes
    if one.updated_at is not None:
        message.updated_at.CopyFrom(timestamp(one.updated_at))
    return message

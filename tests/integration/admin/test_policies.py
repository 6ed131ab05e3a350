"""What an ADMIN sets for the files of a namespace, as admin keeps and tells it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from artstore.v1 import lifecycle_pb2, lifecycle_pb2_grpc
from mesh.calls.status import from_rpc_error
from mesh.errors import InvalidArgument
from tests.integration.admin.audited import Audited
from tests.support.running_admin import RunningAdmin


def stub(admin: RunningAdmin) -> Any:
    return lifecycle_pb2_grpc.LifecycleServiceStub(admin.channel)


async def put(admin: RunningAdmin, **values: Any) -> lifecycle_pb2.Policy:
    request = lifecycle_pb2.SetPolicyRequest(policy=lifecycle_pb2.Policy(**values))
    answer = await stub(admin).SetPolicy(request, **await admin.as_("admin"))
    return answer.policy  # type: ignore[no-any-return]


async def get(admin: RunningAdmin, namespace: str) -> lifecycle_pb2.Policy:
    request = lifecycle_pb2.GetPolicyRequest(namespace=namespace)
    answer = await stub(admin).GetPolicy(request, **await admin.as_("admin"))
    return answer.policy  # type: ignore[no-any-return]


async def test_a_policy_is_kept_as_it_was_set_and_replaced_as_a_whole(
    shared_admin: RunningAdmin,
) -> None:
    values = {
        "default_retention_days": 5,
        "max_retention_days": 10,
        "copies": 2,
        "max_copies": 3,
        "trash_days": 0,
        "quota_bytes": 1 << 40,
    }
    told = await put(shared_admin, namespace="kept", **values)
    assert told.HasField("updated_at")
    assert await get(shared_admin, "kept") == told
    assert {name: getattr(told, name) for name in values} == values
    again = await put(shared_admin, namespace="kept", trash_days=1)
    assert {field.name for field, _ in again.ListFields()} == {
        "namespace",
        "trash_days",
        "updated_at",
    }
    never = await get(shared_admin, "never set")
    assert never == lifecycle_pb2.Policy(namespace="never set")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"namespace": ""}, "policy.namespace"),
        ({"namespace": "*"}, "policy.namespace"),
        ({"namespace": "a\0b"}, "policy.namespace"),
        ({"default_retention_days": 0}, "policy.default_retention_days"),
        ({"max_retention_days": 3651}, "policy.max_retention_days"),
        ({"copies": 6}, "policy.copies"),
        ({"max_copies": 0}, "policy.max_copies"),
        ({"trash_days": -1}, "policy.trash_days"),
        ({"quota_bytes": -1}, "policy.quota_bytes"),
        (
            {"default_retention_days": 9, "max_retention_days": 8},
            "policy.default_retention_days",
        ),
        ({"copies": 3, "max_copies": 2}, "policy.copies"),
    ],
)
async def test_a_value_out_of_range_is_refused_by_its_name(
    shared_admin: RunningAdmin, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await put(shared_admin, **{"namespace": "refused", **values})
    error = from_rpc_error(refused.value)
    assert isinstance(error, InvalidArgument)
    assert error.field == field


async def test_policies_are_listed_by_namespace_page_by_page_to_servers_too(
    shared_audited: Audited,
) -> None:
    shared_admin = shared_audited.admin
    for name in ("list c", "list a", "list b"):
        await put(shared_admin, namespace=name, trash_days=3)
    for account in ("admin", "storage-se-01"):
        names: list[str] = []
        request = lifecycle_pb2.ListPoliciesRequest(page_size=1)
        while True:
            page = await stub(shared_admin).ListPolicies(request, **await shared_admin.as_(account))
            names += [policy.namespace for policy in page.policies]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        assert len(names) == page.total_size
        assert [name for name in names if name.startswith("list")] == ["list a", "list b", "list c"]


async def test_who_set_a_policy_is_on_record(audited: Audited) -> None:
    await put(audited.admin, namespace="recorded", quota_bytes=7)
    (event,) = await audited.events(action="SetPolicy")
    assert (event.actor, event.resource, dict(event.details)) == (
        "admin",
        "recorded",
        {"quota_bytes": "7"},
    )

"""The role table knows every method of every service, and denies what it does not know."""

from __future__ import annotations

from typing import Any

import pytest
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from mesh.calls.services import services
from mesh.errors import PermissionDenied
from mesh.identity.caller import Caller, Role
from mesh.identity.roles import BEHIND_A_SERVER, ENDLESS, WHO_MAY, roles_for
from mesh.identity.scopes import HOW_FAR, require_reach

FOREIGN = (health_pb2, reflection_pb2, channelz_pb2)


def methods(*found: Any) -> set[str]:
    return {
        f"/{service.full_name}/{method.name}" for service in found for method in service.methods
    }


def ours() -> set[str]:
    return methods(*services().values())


def foreign() -> set[str]:
    return methods(
        *(one for module in FOREIGN for one in module.DESCRIPTOR.services_by_name.values())
    )


def test_every_method_of_every_service_is_in_the_table() -> None:
    assert (ours() | foreign()) - WHO_MAY.keys() == set()


def test_the_table_has_no_method_that_does_not_exist() -> None:
    assert {method for method in WHO_MAY if method.startswith("/artstore.")} == ours()


def test_every_method_says_how_far_it_reaches_over_namespaces() -> None:
    assert HOW_FAR.keys() == WHO_MAY.keys()


def test_what_is_called_behind_a_server_and_what_never_ends_are_methods() -> None:
    assert BEHIND_A_SERVER.keys() | ENDLESS <= WHO_MAY.keys()


@pytest.mark.parametrize(
    ("method", "read", "write", "reaches"),
    [
        ("/artstore.v1.CacheService/CheckConsistency", "*", "a", True),
        ("/artstore.v1.CacheService/CheckConsistency", "a", "a", False),
        ("/artstore.v1.CacheService/RebuildCache", "*", "a", False),
        ("/artstore.v1.CacheService/RebuildCache", "*", "*", True),
        ("/artstore.v1.StorageService/GetFile", "a", "a", True),
        ("/artstore.v1.StorageService/GetElement", "a", "a", True),
        ("/artstore.v1.StorageService/Explode", "*", "*", False),
    ],
)
def test_what_concerns_all_namespaces_takes_a_token_of_all(
    method: str, read: str, write: str, reaches: bool
) -> None:
    caller = Caller("a", Role.ADMIN, frozenset({read}), frozenset({write}))
    try:
        require_reach(method, caller)
    except PermissionDenied as denied:
        assert (reaches, denied.reason) == (False, "NAMESPACE")
    else:
        assert reaches


def test_a_caller_behind_a_server_reaches_no_further_than_the_server() -> None:
    caller = Caller("a", Role.USER, frozenset({"a", "b"}), frozenset({"a"}), token="t")
    everything, nothing = frozenset({"*"}), frozenset[str]()
    server = Caller("s", Role.SERVICE, everything, everything)
    assert caller.within(server) is caller
    bound = caller.within(Caller("s", Role.SERVICE, frozenset({"b", "c"}), frozenset({"c"})))
    assert (bound.namespaces_read, bound.namespaces_write) == (frozenset({"b"}), nothing)
    assert (bound.subject, bound.token) == ("a", "t")
    assert not bound.may_read("") and not bound.may_write("a")
    assert server.within(bound).namespaces_read == frozenset({"b"})


def test_an_unknown_method_is_denied_to_all() -> None:
    assert roles_for("/artstore.v1.StorageService/Explode") == frozenset()
    assert roles_for("") == frozenset()


def test_only_login_keys_health_and_reflection_are_open_to_all() -> None:
    open_to_all = {method for method, roles in WHO_MAY.items() if Role.ANONYMOUS in roles}
    assert open_to_all == {
        "/artstore.v1.TokenService/IssueToken",
        "/artstore.v1.TokenService/GetJwks",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.health.v1.Health/List",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }


def test_an_admin_may_do_everything_but_what_servers_do_to_each_other() -> None:
    kept = {method for method, roles in WHO_MAY.items() if Role.ADMIN not in roles}
    assert kept == {
        "/artstore.v1.AuditService/RecordRefusals",
        "/artstore.v1.StorageService/GetUploadTotals",
        "/artstore.v1.StorageElementService/ReportStorageElement",
        *(method for method in ours() if method.startswith("/artstore.v1.TransferService/")),
    }
    assert all(WHO_MAY[method] == {Role.SERVICE} for method in kept)


@pytest.mark.parametrize(
    ("method", "denied"),
    [
        ("StorageService/Upload", {Role.READONLY, Role.USER, Role.AUDITOR}),
        ("StorageService/StartUpload", {Role.READONLY, Role.USER, Role.AUDITOR}),
        ("StorageService/WriteUpload", {Role.READONLY, Role.AUDITOR}),
        ("StorageService/UpdateFile", {Role.READONLY, Role.AUDITOR}),
        ("StorageService/SetMode", {Role.READONLY, Role.USER, Role.AUDITOR, Role.SERVICE}),
        ("StorageService/WatchChanges", {Role.READONLY, Role.USER, Role.AUDITOR}),
        ("StorageService/GetFile", set()),
        ("StorageService/ListUploads", {Role.READONLY, Role.AUDITOR}),
        ("StorageService/SetDrain", {Role.READONLY, Role.USER, Role.AUDITOR, Role.SERVICE}),
        ("OperationService/WatchOperation", {Role.READONLY, Role.USER, Role.SERVICE}),
        ("OperationService/CancelOperation", set(Role) - {Role.ADMIN, Role.ANONYMOUS}),
        ("ServerService/GetServerInfo", set()),
        ("LifecycleService/SetLegalHold", set(Role) - {Role.ADMIN, Role.ANONYMOUS}),
        ("LifecycleService/GetTransfer", {Role.READONLY, Role.AUDITOR}),
        ("LifecycleService/ListTransfers", {Role.READONLY, Role.USER, Role.SERVICE}),
        ("FileRegistryService/CheckMesh", {Role.READONLY, Role.USER, Role.SERVICE}),
        ("FileRegistryService/ResolveHome", set(Role) - {Role.ADMIN, Role.ANONYMOUS}),
        ("ServiceAccountService/GetServiceAccount", {Role.READONLY, Role.USER, Role.SERVICE}),
        ("StorageElementService/ReportStorageElement", set(Role) - {Role.SERVICE, Role.ANONYMOUS}),
        ("CacheService/RebuildCache", {Role.READONLY, Role.USER, Role.AUDITOR, Role.SERVICE}),
        ("CacheService/CheckConsistency", {Role.READONLY, Role.USER, Role.SERVICE}),
        ("IngestService/Upload", {Role.READONLY, Role.AUDITOR}),
        ("AuditService/ListAuditEvents", {Role.READONLY, Role.USER, Role.SERVICE}),
    ],
)
def test_roles_reach_as_far_as_the_contract_says(method: str, denied: set[Role]) -> None:
    allowed = roles_for(f"/artstore.v1.{method}")
    assert set(Role) - allowed == denied | {Role.ANONYMOUS}

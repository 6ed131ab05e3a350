"""The role table knows every method of every service, and denies what it does not know."""

from __future__ import annotations

import pytest
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from artstore.v1 import admin_pb2, cache_pb2, ingest_pb2, query_pb2, storage_pb2
from mesh.caller import Role
from mesh.roles import WHO_MAY, roles_for

OURS = (admin_pb2, cache_pb2, ingest_pb2, query_pb2, storage_pb2)
FOREIGN = (health_pb2, reflection_pb2, channelz_pb2)


def methods(*modules: object) -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()  # type: ignore[attr-defined]
        for method in service.methods
    }


def test_every_method_of_every_service_is_in_the_table() -> None:
    assert methods(*OURS, *FOREIGN) - WHO_MAY.keys() == set()


def test_the_table_has_no_method_that_does_not_exist() -> None:
    ours = {method for method in WHO_MAY if method.startswith("/artstore.")}
    assert ours == methods(*OURS)


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


def test_an_admin_may_do_everything() -> None:
    assert all(Role.ADMIN in roles for roles in WHO_MAY.values())


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
        ("CacheService/RebuildCache", {Role.READONLY, Role.USER, Role.AUDITOR, Role.SERVICE}),
        ("CacheService/CheckConsistency", {Role.READONLY, Role.USER, Role.SERVICE}),
        ("IngestService/Upload", {Role.READONLY, Role.AUDITOR}),
        ("AuditService/ListAuditEvents", {Role.READONLY, Role.USER, Role.SERVICE}),
    ],
)
def test_roles_reach_as_far_as_the_contract_says(method: str, denied: set[Role]) -> None:
    allowed = roles_for(f"/artstore.v1.{method}")
    assert set(Role) - allowed == denied | {Role.ANONYMOUS}

"""The public face of the package."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import artstore_client
from artstore_client import Client, SyncClient
from artstore_client.accounts import AccountCalls, KeyCalls
from artstore_client.admission import AdmissionCalls
from artstore_client.audit import AuditCalls
from artstore_client.cache import CacheCalls
from artstore_client.collections import CollectionCalls
from artstore_client.erasure import ErasureCalls
from artstore_client.mesh_check import MeshCheckCalls
from artstore_client.policies import PolicyCalls
from artstore_client.retention import RetentionCalls
from artstore_client.sync import (
    SyncAccountCalls,
    SyncAdmissionCalls,
    SyncAuditCalls,
    SyncCacheCalls,
    SyncErasureCalls,
    SyncKeyCalls,
)
from artstore_client.sync_collections import SyncCollectionCalls, SyncTrashCalls
from artstore_client.sync_mesh_check import SyncMeshCheckCalls
from artstore_client.sync_policies import SyncPolicyCalls, SyncRetentionCalls
from artstore_client.sync_transfers import SyncTransferCalls, SyncTransferring
from artstore_client.transfers import TransferCalls, Transferring
from artstore_client.trash import TrashCalls

FOLDER = Path(artstore_client.__file__).parent


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_all_is_sorted_and_complete() -> None:
    names = artstore_client.__all__
    assert names == sorted(names)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse((FOLDER / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(names)
    assert all(hasattr(artstore_client, name) for name in names)
    assert set(names) <= set(dir(artstore_client))
    assert not hasattr(artstore_client, "nothing")


def test_synchronous_face_has_every_call() -> None:
    # Async ids and generators have their own shape there: `read` gives the bytes.
    assert public(Client) - public(SyncClient) == {"element_ids"}
    assert public(SyncClient) - public(Client) == {"read"}
    assert public(CacheCalls) == public(SyncCacheCalls)
    assert public(AccountCalls) == public(SyncAccountCalls)
    assert public(ErasureCalls) == public(SyncErasureCalls)
    assert public(KeyCalls) == public(SyncKeyCalls)
    assert public(AdmissionCalls) == public(SyncAdmissionCalls)
    assert public(AuditCalls) == public(SyncAuditCalls)
    assert public(CollectionCalls) == public(SyncCollectionCalls)
    assert public(TrashCalls) == public(SyncTrashCalls)
    assert public(MeshCheckCalls) == public(SyncMeshCheckCalls)
    assert public(TransferCalls) == public(SyncTransferCalls)
    assert public(Transferring) == public(SyncTransferring)
    assert public(PolicyCalls) == public(SyncPolicyCalls)
    assert public(RetentionCalls) == public(SyncRetentionCalls)


async def test_both_faces_have_the_same_areas() -> None:
    client = Client.connect(admin="localhost:1")
    with SyncClient.connect(admin="localhost:1") as synchronous:
        areas = {name for name in vars(client) if not name.startswith("_")}
        assert areas == {name for name in vars(synchronous) if not name.startswith("_")}
    assert areas >= {"accounts", "audit", "keys"}
    await client.close()


def test_connect_takes_keywords_only_and_describes_each() -> None:
    signature = inspect.signature(Client.connect)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    described = inspect.getdoc(Client.connect) or ""
    assert [name for name in signature.parameters if f"{name}:" not in described] == []


def test_client_imports_no_server() -> None:
    forbidden = {
        "mesh",
        "storage_server",
        "ingest_server",
        "query_server",
        "admin_server",
        "launch",
    }
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            assert {module.split(".")[0] for module in modules}.isdisjoint(forbidden), path

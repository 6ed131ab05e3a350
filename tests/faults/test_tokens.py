"""Who is not known, or may not, gets UNAUTHENTICATED or PERMISSION_DENIED from every RPC."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from artstore.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    cache_pb2,
    storage_pb2,
    tokens_pb2,
    tokens_pb2_grpc,
    types_pb2,
)
from tests.faults.every_rpc import ANONYMOUS, CONCERN_ALL, ROLES, SERVERS, WHO_MAY, Rpc, served
from tests.faults.stores import holdings, nothing_left
from tests.support.caller import Caller, Refused, ended
from tests.support.mesh import MeshProcess
from tests.support.token_issuer import Signer
from tests.support.waiting import until_answered

ELEMENT = "se-01"
AT_A_TIME = 16


@pytest.fixture
def mesh(mesh_local: MeshProcess) -> MeshProcess:
    """Where files lie makes no difference to who may touch them."""
    return mesh_local


@pytest.fixture
async def signer(mesh: MeshProcess) -> AsyncIterator[Signer]:
    """Signs with a key that stands in admin's key store during the test."""
    signer = Signer(f"test-{secrets.token_hex(4)}")
    pem = signer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    base, _, _ = mesh.file.database_url.rpartition("/")
    connection = await asyncpg.connect(f"{base}/artstore_admin")
    await connection.execute(
        "INSERT INTO signing_keys (kid, public_key) VALUES ($1, $2)", signer.kid, pem.decode()
    )
    async with Caller(mesh.file) as caller:
        good = bearer(signer.token(role="READONLY"))
        for server in SERVERS:
            rpc = Rpc(server, "grpc.channelz.v1.Channelz/GetServers", False, False)

            async def known(rpc: Rpc = rpc) -> bool:
                return (await rpc.call(caller, good)).name == "PERMISSION_DENIED"

            await until_answered(known, 10, f"{server} knows the new key", pause=0.3)
    yield signer
    await connection.execute("DELETE FROM signing_keys WHERE kid = $1", signer.kid)
    await connection.close()


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call."""
    return (("authorization", f"Bearer {token}"),)


async def test_every_rpc_but_the_anonymous_ones_needs_a_token(caller: Caller) -> None:
    rpcs = await served(caller)
    names = {rpc.name for rpc in rpcs}
    told = {f"artstore.v1.{name}" for name in WHO_MAY}
    assert told <= names
    assert {"IngestService/Upload", "QueryService/SearchFiles", "CacheService/ListLocks"} <= {
        name.removeprefix("artstore.v1.") for name in names
    }
    wrong = {}
    for rpc in rpcs:
        if rpc.name not in ANONYMOUS:
            ending = await rpc.call(caller, ())
            if ending.name != "UNAUTHENTICATED":
                wrong[f"{rpc.server} {rpc.name}"] = ending
    assert wrong == {}
    for rpc in rpcs:
        if rpc.name in ANONYMOUS and "IssueToken" not in rpc.name:
            assert (await rpc.call(caller, ())).name not in {"UNAUTHENTICATED", "PERMISSION_DENIED"}


async def test_every_rpc_asks_for_its_roles_and_namespaces(
    mesh: MeshProcess, caller: Caller, signer: Signer
) -> None:
    before = await holdings(mesh, caller)
    rpcs = [rpc for rpc in await served(caller) if rpc.name.startswith("artstore.v1.")]
    named = {rpc.name.removeprefix("artstore.v1.") for rpc in rpcs if rpc.name not in ANONYMOUS}
    assert named == set(WHO_MAY)
    wrong: list[str] = []

    async def ask(rpc: Rpc, role: str, namespace: str) -> None:
        name = rpc.name.removeprefix("artstore.v1.")
        expected = ""
        if name in CONCERN_ALL and namespace != "*":
            expected = "NAMESPACE"
        if role not in WHO_MAY[name]:
            expected = "ROLE_DENIED"
        token = signer.token(
            role=role, sub=f"a-{role.lower()}", ns_read=[namespace], ns_write=[namespace]
        )
        ending = await rpc.call(caller, bearer(token))
        found = ending.reason if ending.name == "PERMISSION_DENIED" else ""
        if name == "TransferService/Hold" and role == "SERVICE":
            # Only for an ADMIN, whose token comes with the call.
            expected = "ROLE_DENIED"
        # By other reasons it is denied for what it lacks: an upload's token, an element's account.
        if found != expected and (expected or found in ("NAMESPACE", "ROLE_DENIED")):
            wrong.append(f"{role} {namespace} {rpc.server} {name}: {ending.name} {ending.text}")

    for namespace in ("default", "another", "*"):
        for role in ROLES:
            # What an ADMIN's empty request really does, or a check, is for other tests.
            asked = [
                rpc
                for rpc in rpcs
                if rpc.name not in ANONYMOUS
                and rpc.server != "se-03"
                and not (namespace == "*" and role == "ADMIN")
            ]
            for start in range(0, len(asked), AT_A_TIME):
                await asyncio.gather(
                    *(ask(rpc, role, namespace) for rpc in asked[start : start + AT_A_TIME])
                )
    assert wrong == []
    await nothing_left(mesh, caller, before)


def forged(signer: Signer) -> dict[str, tuple[str, str]]:
    """Tokens that are wrong in one way each, with the reason to be told."""
    now = 4_000_000
    unsigned = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none", "typ": "at+jwt", "kid": signer.kid}, signer.claims())
    )
    good = signer.token(role="ADMIN")
    head, _, signature = good.split(".")
    raised = base64.urlsafe_b64encode(json.dumps(signer.claims(role="ADMIN")).encode())
    secret = jwt.encode(
        signer.claims(role="ADMIN"),
        "a shared secret that is long enough for HMAC",
        algorithm="HS256",
        headers={"kid": signer.kid, "typ": "at+jwt"},
    )
    return {
        "expired": (signer.token(exp=now), "TOKEN_EXPIRED"),
        "other audience": (signer.token(aud="elsewhere"), "TOKEN_AUDIENCE"),
        "no audience": (signer.token(aud=None), ""),
        "other issuer": (signer.token(iss="elsewhere"), ""),
        "no expiry": (signer.token(exp=None), ""),
        "not yet": (signer.token(nbf=now * 10_000), ""),
        "alg none": (f"{unsigned}.", "TOKEN_ALGORITHM"),
        "HMAC": (secret, "TOKEN_ALGORITHM"),
        "unknown kid": (signer.token(header={"kid": "nobody"}), "TOKEN_KEY"),
        "known kid, other key": (Signer(signer.kid).token(role="ADMIN"), "TOKEN_SIGNATURE"),
        "other typ": (signer.token(header={"typ": "JWT"}), "TOKEN_TYPE"),
        "claims exchanged": (f"{head}.{raised.decode().rstrip('=')}.{signature}", ""),
        "cut": (good[:-8], ""),
        "no JWT": ("abc", "TOKEN_MALFORMED"),
    }


async def test_tokens_that_are_wrong_are_refused_and_nothing_is_stored(
    mesh: MeshProcess, caller: Caller, signer: Signer
) -> None:
    before = await holdings(mesh, caller)
    for case, (token, reason) in forged(signer).items():
        for target in ("ingest", ELEMENT):
            async with Caller(mesh.file, token=token) as stranger:
                async with stranger.upload_to(target) as upload:
                    with pytest.raises(Refused) as refused:
                        await upload.header(original_filename="stranger.txt")
                    assert upload.sent_bytes == 0
                ending = await ended(
                    stranger.storage(ELEMENT).GetElement(
                        storage_pb2.GetElementRequest(), **stranger.auth
                    )
                )
            for found in (refused.value.ending, ending):
                assert found.name == "UNAUTHENTICATED", f"{case}: {found}"
                assert not reason or found.reason == reason, f"{case}: {found}"
    await nothing_left(mesh, caller, before)


async def test_unknown_role_is_no_role(mesh: MeshProcess, signer: Signer) -> None:
    for role in ("SUPERUSER", "admin", "ANONYMOUS", "", 7, ["ADMIN"]):
        async with Caller(mesh.file, token=signer.token(role=role)) as caller:
            for target in ("ingest", ELEMENT):
                async with caller.upload_to(target) as upload:
                    with pytest.raises(Refused) as refused:
                        await upload.header(original_filename="stranger.txt")
                assert refused.value.ending.name == "PERMISSION_DENIED", role


async def test_namespaces_of_a_token_hold_for_reading_and_writing(
    mesh: MeshProcess, caller: Caller, signer: Signer
) -> None:
    secret = await caller.put(b"secret", "secret.txt", namespace="vault")
    token = signer.token(role="USER", ns_read=["default"], ns_write=["default"])
    async with Caller(mesh.file, token=token) as stranger:
        with pytest.raises(Refused) as refused:
            await stranger.put(b"mine", "mine.txt", namespace="vault")
        assert refused.value.ending.name == "PERMISSION_DENIED"
        assert (await ended(stranger.get(ELEMENT, secret.file_id))).name == "NOT_FOUND"
        with pytest.raises(grpc.aio.AioRpcError) as hidden:
            await stranger.read(ELEMENT, secret.file_id)
        assert hidden.value.code() is grpc.StatusCode.NOT_FOUND
        delete = storage_pb2.DeleteFileRequest(file_id=secret.file_id)
        ending = await ended(stranger.storage(ELEMENT).DeleteFile(delete, **stranger.auth))
        assert ending.name == "NOT_FOUND"
        listed = await ended(
            stranger.storage(ELEMENT).ListFiles(
                storage_pb2.StorageServiceListFilesRequest(page_size=1000), **stranger.auth
            )
        )
        assert secret.file_id not in {file.file_id for file in listed.answer.files}
        mine = await stranger.put(b"mine", "mine.txt")
        assert mine.created_by == "alice"
    reader = signer.token(role="READONLY", ns_read=["vault"])
    async with Caller(mesh.file, token=reader) as allowed:
        assert await allowed.read(ELEMENT, secret.file_id) == b"secret"


async def test_only_servers_speak_for_others(
    mesh: MeshProcess, caller: Caller, signer: Signer
) -> None:
    admin = signer.token(role="ADMIN", sub="root")
    user = signer.token(role="USER", sub="mallory")
    mode = storage_pb2.SetModeRequest(mode=types_pb2.ELEMENT_MODE_EDIT)
    raised = (*bearer(user), ("artstore-caller", admin))
    ending = await ended(caller.storage(ELEMENT).SetMode(mode, metadata=raised, timeout=10))
    assert ending.name == "PERMISSION_DENIED"
    async with caller.upload_to("ingest", metadata=raised) as upload:
        await upload.header(original_filename="mallory.txt")
        file = (await upload.finish()).file
    assert file.created_by == "mallory"


async def test_real_accounts_get_what_their_role_allows(mesh: MeshProcess, caller: Caller) -> None:
    accounts: Any = accounts_pb2_grpc.ServiceAccountServiceStub(caller.channel("admin"))
    name = f"reader-{secrets.token_hex(3)}"
    made = await accounts.CreateServiceAccount(
        accounts_pb2.CreateServiceAccountRequest(client_id=name, role=accounts_pb2.ROLE_READONLY),
        **caller.auth,
    )
    issue: Any = tokens_pb2_grpc.TokenServiceStub(caller.channel("admin"))
    token = (
        await issue.IssueToken(
            tokens_pb2.IssueTokenRequest(client_id=name, client_secret=made.client_secret),
            timeout=10,
        )
    ).access_token
    file = await caller.put(b"to be read", "read.txt")
    async with Caller(mesh.file, token=token) as reader:
        assert await reader.read(ELEMENT, file.file_id) == b"to be read"
        with pytest.raises(Refused) as refused:
            await reader.put(b"no")
        assert refused.value.ending.name == "PERMISSION_DENIED"
        check = cache_pb2.CheckConsistencyRequest()
        ending = await ended(reader.cache(ELEMENT).CheckConsistency(check, **reader.auth))
        assert ending.name == "PERMISSION_DENIED"
    wrong = tokens_pb2.IssueTokenRequest(client_id=name, client_secret="wrong")
    assert (await ended(issue.IssueToken(wrong, timeout=10))).name == "UNAUTHENTICATED"

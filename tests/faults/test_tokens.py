"""Who is not known, or may not, gets UNAUTHENTICATED or PERMISSION_DENIED from every RPC."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from artstore.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    cache_pb2,
    storage_pb2,
    tokens_pb2,
    tokens_pb2_grpc,
    types_pb2,
)
from tests.faults.stores import holdings, nothing_left
from tests.support.caller import Caller, Ending, Refused, ended
from tests.support.mesh import MeshProcess
from tests.support.token_issuer import Signer
from tests.support.waiting import until_answered

SERVERS = ("admin", "se-01", "se-03", "ingest", "query")
ELEMENT = "se-01"
ROLES = ("READONLY", "USER", "AUDITOR", "SERVICE", "ADMIN")
READERS = frozenset(ROLES)
USERS = frozenset({"USER", "SERVICE", "ADMIN"})
SERVICES = frozenset({"SERVICE", "ADMIN"})
AUDITORS = frozenset({"AUDITOR", "ADMIN"})
ADMINS = frozenset({"ADMIN"})
ANONYMOUS = frozenset(
    {
        "artstore.v1.TokenService/IssueToken",
        "artstore.v1.TokenService/GetJwks",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/List",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)

# Section 4 of the design, "Who may"; what it does not name is asked of everybody but ADMIN here.
WHO_MAY: dict[str, frozenset[str]] = {
    "StorageService/Upload": SERVICES,
    "StorageService/StartUpload": SERVICES,
    "StorageService/WriteUpload": USERS,
    "StorageService/GetUpload": USERS,
    "StorageService/CommitUpload": USERS,
    "StorageService/AbortUpload": USERS,
    "StorageService/Download": READERS,
    "StorageService/GetFile": READERS,
    "StorageService/BatchGetFiles": READERS,
    "StorageService/ListFiles": READERS,
    "StorageService/GetElement": READERS,
    "StorageService/UpdateFile": USERS,
    "StorageService/DeleteFile": USERS,
    "StorageService/UndeleteFile": USERS,
    "StorageService/SetMode": ADMINS,
    "StorageService/WatchChanges": SERVICES,
    "CacheService/CheckConsistency": AUDITORS,
    "OperationService/WatchOperation": AUDITORS,
    "OperationService/GetOperation": AUDITORS,
    "OperationService/ListOperations": AUDITORS,
    "OperationService/CancelOperation": ADMINS,
    "ServerService/GetServerInfo": READERS,
    "StorageService/SetDrain": ADMINS,
    "StorageService/ListUploads": USERS,
    "StorageService/GetUploadTotals": SERVICES,
    "CacheService/ListLocks": AUDITORS,
    "CacheService/RebuildCache": ADMINS,
    "CacheService/RebuildCacheIncremental": ADMINS,
    "CacheService/CleanupExpired": ADMINS,
    "CacheService/ReleaseLock": ADMINS,
    "IngestService/Upload": USERS,
    "IngestService/StartUpload": USERS,
    "IngestService/WriteUpload": USERS,
    "IngestService/GetUpload": USERS,
    "IngestService/CommitUpload": USERS,
    "IngestService/AbortUpload": USERS,
    "IngestService/FinalizeFile": USERS,
    "IngestService/GetFinalization": USERS,
    "QueryService/SearchFiles": READERS,
    "QueryService/GetFile": READERS,
    "QueryService/DownloadFile": READERS,
    "ServiceAccountService/CreateServiceAccount": ADMINS,
}


@dataclass(frozen=True, slots=True)
class Rpc:
    """A method as reflection describes it."""

    server: str
    name: str
    streams_requests: bool
    streams_responses: bool

    async def call(self, caller: Caller, metadata: Any, *, timeout: float = 10.0) -> Ending:
        """Call it with an empty message."""
        channel = caller.channel(self.server)
        make = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[self.streams_requests, self.streams_responses]
        method: Any = make(f"/{self.name}")
        request = _one_empty() if self.streams_requests else b""
        call = method(request, metadata=metadata, timeout=timeout)
        if not self.streams_responses:
            return await ended(call)
        try:
            return await ended(call.read())
        finally:
            call.cancel()


async def _one_empty() -> AsyncIterator[bytes]:
    yield b""


async def served(caller: Caller) -> list[Rpc]:
    """Every RPC of every server, by reflection."""
    found: list[Rpc] = []
    for server in SERVERS:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(caller.channel(server))
        asked = reflection_pb2.ServerReflectionRequest
        call = stub.ServerReflectionInfo(iter([asked(list_services="")]))
        services = [s.name async for a in call for s in a.list_services_response.service]
        call = stub.ServerReflectionInfo(iter([asked(file_containing_symbol=s) for s in services]))
        files: dict[str, FileDescriptorProto] = {}
        async for answer in call:
            for serialized in answer.file_descriptor_response.file_descriptor_proto:
                file = FileDescriptorProto.FromString(serialized)
                files[file.name] = file
        found += [
            Rpc(server, f"{name}/{rpc.name}", rpc.client_streaming, rpc.server_streaming)
            for file in files.values()
            for service in file.service
            if (name := f"{file.package}.{service.name}") in services
            for rpc in service.method
        ]
    return found


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


async def test_roles_that_are_too_low_are_denied_everywhere(
    mesh: MeshProcess, caller: Caller, signer: Signer
) -> None:
    before = await holdings(mesh, caller)
    tokens = {role: bearer(signer.token(role=role, sub=f"a-{role.lower()}")) for role in ROLES}
    wrong = []
    for rpc in await served(caller):
        may = WHO_MAY.get(rpc.name.removeprefix("artstore.v1."))
        if may is None:
            continue
        for role, metadata in tokens.items():
            # An ADMIN's empty request could really do something; what others may do is harmless.
            if role == "ADMIN":
                continue
            ending = await rpc.call(caller, metadata)
            if (ending.name == "PERMISSION_DENIED") is (role in may) and not _by_token(ending):
                wrong.append(f"{role} {rpc.server} {rpc.name}: {ending.name} {ending.text}")
    assert wrong == []
    await nothing_left(mesh, caller, before)


def _by_token(ending: Ending) -> bool:
    """Denied for want of an upload's token, after the role was found to be enough."""
    return ending.reason == "UPLOAD_TOKEN"


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

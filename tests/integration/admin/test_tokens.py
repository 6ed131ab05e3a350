"""IssueToken and GetJwks: who gets a token, what is in it, and who does not."""

from __future__ import annotations

import asyncio

import grpc
import jwt
import pytest

from artstore.v1 import tokens_pb2
from mesh.calls.status import DETAILS_KEY, from_rpc_error
from mesh.identity.tokens import KeySet, TokenVerifier
from tests.support.running_admin import SECRET, RunningAdmin, bearer


async def issue(admin: RunningAdmin, client_id: str, secret: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.issue(client_id, secret)
    return refused.value


async def test_a_token_names_its_account_and_verifies_with_the_published_keys(
    shared_admin: RunningAdmin,
) -> None:
    request = tokens_pb2.IssueTokenRequest(client_id="alice", client_secret=SECRET)
    answer = await shared_admin.tokens.IssueToken(request, timeout=10)
    assert (answer.token_type, answer.expires_in_seconds) == ("Bearer", 900)

    keys = KeySet()
    keys.replace(await shared_admin.jwks())
    caller = await TokenVerifier(keys).verify(answer.access_token)
    assert (caller.subject, caller.role.value) == ("alice", "USER")
    assert caller.namespaces_read == caller.namespaces_write == {"default"}

    header = jwt.get_unverified_header(answer.access_token)
    claims = jwt.decode(answer.access_token, options={"verify_signature": False})
    assert header["typ"] == "at+jwt"
    assert header["alg"] == "EdDSA"
    assert claims["iss"] == "artstore"
    assert claims["aud"] == "artstore"
    assert claims["exp"] - claims["iat"] == 900
    assert claims["nbf"] == claims["iat"]
    assert len(claims["jti"]) == 32


async def test_two_tokens_differ_by_their_id(shared_admin: RunningAdmin) -> None:
    assert await shared_admin.issue("alice") != await shared_admin.issue("alice")


async def test_the_first_account_and_servers_have_all_namespaces(
    shared_admin: RunningAdmin,
) -> None:
    for client_id in ("admin", "storage-se-01"):
        token = await shared_admin.issue(client_id)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["ns_read"] == claims["ns_write"] == ["*"]


async def test_published_keys_hold_no_private_part(shared_admin: RunningAdmin) -> None:
    jwks = await shared_admin.jwks()
    assert jwks["keys"]
    for key in jwks["keys"]:
        assert "d" not in key
        assert {"kid", "alg", "kty", "crv", "x"} <= key.keys()


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", SECRET + " "),
        ("alice", SECRET * 100),
        ("alice", SECRET + "\0"),
        ("ALICE", SECRET),
        ("nobody", SECRET),
        ("", ""),
        ("\0", SECRET),
        ("'; DROP TABLE service_accounts; --", SECRET),
        ("x" * 10_000, SECRET),
        ("пользователь", SECRET),
    ],
)
async def test_wrong_credentials_are_unauthenticated_and_say_no_more(
    shared_admin: RunningAdmin, client_id: str, secret: str
) -> None:
    error = await issue(shared_admin, client_id, secret)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details() == "client_id or client_secret is wrong"


async def test_an_outdated_token_does_not_keep_its_holder_from_logging_in(
    shared_admin: RunningAdmin,
) -> None:
    request = tokens_pb2.IssueTokenRequest(client_id="alice", client_secret=SECRET)
    answer = await shared_admin.tokens.IssueToken(
        request, metadata=bearer("expired.or.broken"), timeout=10
    )
    assert answer.access_token


async def test_too_many_wrong_tries_shut_out_that_account_alone(admin: RunningAdmin) -> None:
    codes = [(await issue(admin, "alice", f"guess {n}")).code() for n in range(12)]
    assert codes[:10] == [grpc.StatusCode.UNAUTHENTICATED] * 10
    assert codes[10:] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2

    error = await issue(admin, "alice", SECRET)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(from_rpc_error(error).metadata["retry_after_seconds"]) >= 1
    assert await admin.issue("admin")


async def test_unknown_accounts_are_limited_like_known_ones(admin: RunningAdmin) -> None:
    codes = [(await issue(admin, "nobody", "guess")).code() for _ in range(11)]
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_many_wrong_tries_at_once_are_no_way_around_the_limit(admin: RunningAdmin) -> None:
    errors = await asyncio.gather(*(issue(admin, "alice", f"guess {n}") for n in range(40)))
    codes = [error.code() for error in errors]
    assert codes.count(grpc.StatusCode.UNAUTHENTICATED) == 10
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 30


async def test_many_right_logins_at_once_all_get_a_token(admin: RunningAdmin) -> None:
    tokens = await asyncio.gather(*(admin.issue("alice") for _ in range(100)))
    assert len(set(tokens)) == 100


async def test_the_right_secret_clears_earlier_wrong_tries(admin: RunningAdmin) -> None:
    for _ in range(3):
        for n in range(9):
            await issue(admin, "alice", f"guess {n}")
        assert await admin.issue("alice")


async def test_the_error_carries_a_reason_for_machines(shared_admin: RunningAdmin) -> None:
    error = await issue(shared_admin, "someone", "guess")
    assert from_rpc_error(error).reason == "WRONG_CREDENTIALS"
    assert DETAILS_KEY in dict(error.trailing_metadata() or ())


async def test_token_life_follows_the_setting(database_url: str, tmp_path: object) -> None:
    from tests.support.running_admin import running_admin

    async with running_admin(database_url, tmp_path, token_seconds=60) as admin:  # type: ignore[arg-type]
        token = await admin.issue("alice")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60

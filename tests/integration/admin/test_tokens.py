"""IssueToken and GetJwks: who gets a token, what is in it, and who does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
import jwt
import pytest

from admin_server.accounts import attempts
from admin_server.accounts.attempts import FIRST_SECONDS
from admin_server.accounts.remembered import RememberedSecrets
from admin_server.accounts.secrets import SecretHasher
from admin_server.accounts.turns import MAX_SECRETS_AS_ONE
from artstore.v1 import tokens_pb2
from mesh.calls.status import DETAILS_KEY, from_rpc_error
from mesh.errors import ResourceExhausted
from mesh.identity.tokens import KeySet, TokenVerifier
from tests.support.running_admin import SECRET, RunningAdmin, bearer


async def issue(admin: RunningAdmin, client_id: str, secret: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.issue(client_id, secret)
    return refused.value


def forgetting(
    matches: Callable[[RememberedSecrets, str, str], bool | None],
) -> Callable[[RememberedSecrets, str, str], bool | None]:
    """`matches` that remembers a yes for the next question alone, and no no."""

    def asked(remembered: RememberedSecrets, secret_hash: str, secret: str) -> bool | None:
        if not matches(remembered, secret_hash, secret):
            return None
        del remembered._digests[secret_hash]
        return True

    return asked


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
        ("x" * 3_000, SECRET),
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


async def test_wrong_logins_are_slowed_down_whether_there_is_such_an_account_or_not(
    admin: RunningAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "STEP_SECONDS", 0.1)
    for client_id in ("alice", "nobody"):
        codes = [(await issue(admin, client_id, f"guess {n}")).code() for n in range(12)]
        assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 12
        began = time.monotonic()
        await issue(admin, client_id, "guess")
        assert time.monotonic() - began > FIRST_SECONDS + 0.2


@pytest.mark.parametrize("seen_before", [True, False])
async def test_twenty_wrong_logins_a_second_lock_nobody_out(
    admin: RunningAdmin, monkeypatch: pytest.MonkeyPatch, seen_before: bool
) -> None:
    monkeypatch.setattr(attempts, "STEP_SECONDS", 0.01)
    if not seen_before:
        # As after a start: the right secret has to be found out, among the wrong ones.
        monkeypatch.setattr(RememberedSecrets, "matches", forgetting(RememberedSecrets.matches))

    async def guess(number: int) -> grpc.StatusCode:
        await asyncio.sleep(number / 20)
        return (await issue(admin, "alice", f"guess {number}")).code()

    guesses = [asyncio.create_task(guess(number)) for number in range(30)]
    for _ in range(5):
        await asyncio.sleep(0.25)
        async with asyncio.timeout(2):
            assert await admin.issue("alice")
            assert await admin.issue("admin")
    assert set(await asyncio.gather(*guesses)) == {grpc.StatusCode.UNAUTHENTICATED}


async def test_of_many_wrong_logins_at_once_some_are_told_to_come_later(
    admin: RunningAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "STEP_SECONDS", 0.0)
    looked_at = asyncio.Event()

    async def pretend(hasher: SecretHasher) -> None:
        await looked_at.wait()

    monkeypatch.setattr(SecretHasher, "pretend", pretend)
    guesses = [
        asyncio.create_task(issue(admin, "alice", f"guess {n}"))
        for n in range(MAX_SECRETS_AS_ONE + 1)
    ]
    done, waiting = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    error = done.pop().result()
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    refused = from_rpc_error(error)
    assert isinstance(refused, ResourceExhausted)
    assert (refused.reason, refused.retry_after_seconds) == ("LOGINS_BUSY", 2.0)
    # None of this is for those who are right.
    assert await admin.issue("alice")
    looked_at.set()
    for guessed in await asyncio.gather(*waiting):
        assert guessed.code() is grpc.StatusCode.UNAUTHENTICATED


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

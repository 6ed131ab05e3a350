"""Access tokens: which are good, which are not, and what the caller is told."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from mesh.errors import PermissionDenied, Unauthenticated, Unavailable
from mesh.identity import tokens
from mesh.identity.caller import Caller, Role
from mesh.identity.tokens import KeySet, TokenVerifier
from tests.support.token_issuer import Signer

# JSON as Python writes and reads it has the first three.
NO_TIMES = (float("nan"), float("inf"), -float("inf"), -1, 1e300, 10**400, 253_402_300_800)


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def verifier(signer: Signer) -> TokenVerifier:
    keys = KeySet()
    keys.replace(signer.jwks())
    return TokenVerifier(keys)


async def test_a_good_token_names_its_caller(signer: Signer, verifier: TokenVerifier) -> None:
    raw = signer.token(role="ADMIN", ns_read=["*"], ns_write=["a", "b"])
    caller = await verifier.verify(raw)
    assert caller == Caller("alice", Role.ADMIN, frozenset({"*"}), frozenset({"a", "b"}))
    assert caller.token == raw
    assert raw not in repr(caller)
    assert verifier.cached(raw) is caller


async def test_no_namespaces_named_means_default(signer: Signer, verifier: TokenVerifier) -> None:
    caller = await verifier.verify(signer.token())
    assert caller.may_read("default")
    assert caller.may_read("")
    assert not caller.may_read("other")
    assert not caller.may_write("other")


def none_token(signer: Signer) -> str:
    headers = {"kid": signer.kid, "typ": "at+jwt"}
    return jwt.encode(signer.claims(), None, algorithm="none", headers=headers)


def hmac_token(signer: Signer) -> str:
    headers = {"kid": signer.kid, "typ": "at+jwt"}
    return jwt.encode(signer.claims(), "x" * 64, algorithm="HS256", headers=headers)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (lambda s: "", "TOKEN_MALFORMED"),
        (lambda s: "not.a.jwt", "TOKEN_MALFORMED"),
        (lambda s: "x" * 10_000, "TOKEN_MALFORMED"),
        (none_token, "TOKEN_ALGORITHM"),
        (hmac_token, "TOKEN_ALGORITHM"),
        (lambda s: s.token(header={"typ": "JWT"}), "TOKEN_TYPE"),
        (lambda s: s.token(header={"kid": "other"}), "TOKEN_KEY"),
        (lambda s: s.token(header={"kid": ""}), "TOKEN_KEY"),
        (lambda s: Signer().token(), "TOKEN_SIGNATURE"),
        (lambda s: s.token(exp=int(time.time()) - 1), "TOKEN_EXPIRED"),
        (lambda s: s.token(aud="elsewhere"), "TOKEN_AUDIENCE"),
        (lambda s: s.token(aud=None), "TOKEN_INVALID"),
        (lambda s: s.token(iss="elsewhere"), "TOKEN_INVALID"),
        (lambda s: s.token(exp=None), "TOKEN_INVALID"),
        (lambda s: s.token(sub=None), "TOKEN_INVALID"),
        (lambda s: s.token(role=None), "TOKEN_INVALID"),
        (lambda s: s.token(iat=int(time.time()) + 3600), "TOKEN_NOT_YET_VALID"),
        (lambda s: s.token(nbf=int(time.time()) + 3600), "TOKEN_NOT_YET_VALID"),
        *(
            (lambda s, claim=claim, value=value: s.token(**{claim: value}), "TOKEN_INVALID")
            for claim in ("exp", "iat", "nbf")
            for value in (*NO_TIMES, True, "1", [], {})
        ),
        (lambda s: s.token(exp=int(time.time()) + 86_500), "TOKEN_INVALID"),
        (lambda s: s.token(iat=1), "TOKEN_INVALID"),
    ],
)
async def test_a_wrong_token_is_refused_and_not_repeated(
    signer: Signer, verifier: TokenVerifier, raw: Any, reason: str
) -> None:
    token = raw(signer)
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert caught.value.reason == reason
    assert not token or token not in caught.value.message


async def test_a_token_issued_by_a_clock_that_is_a_little_ahead_is_good(
    signer: Signer, verifier: TokenVerifier
) -> None:
    ahead = int(time.time()) + 50
    assert await verifier.verify(signer.token(iat=ahead, nbf=ahead))


@pytest.mark.parametrize(
    ("wrong_by", "reason", "told"),
    [(-300, "TOKEN_NOT_YET_VALID", "for 300 s"), (86_400, "TOKEN_EXPIRED", "85500 s ago")],
)
async def test_a_refusal_says_by_how_much_the_clocks_differ(
    signer: Signer, wrong_by: float, reason: str, told: str
) -> None:
    keys = KeySet()
    keys.replace(signer.jwks())
    issued_at = int(time.time())
    verifier = TokenVerifier(keys, lambda: issued_at + wrong_by)
    raw = signer.token(iat=issued_at, nbf=issued_at, exp=issued_at + 900)
    with pytest.raises(Unauthenticated) as refused:
        await verifier.verify(raw)
    assert refused.value.reason == reason
    assert told in refused.value.message
    assert "clock" in refused.value.message


@pytest.mark.parametrize("role", ["SUPERUSER", "admin", "", 7, ["ADMIN"], "ANONYMOUS"])
async def test_an_unknown_role_is_denied(
    signer: Signer, verifier: TokenVerifier, role: object
) -> None:
    with pytest.raises(PermissionDenied):
        await verifier.verify(signer.token(role=role))


async def test_an_expired_token_is_not_answered_from_the_cache(
    signer: Signer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = signer.token(exp=int(time.time()) + 60)
    await verifier.verify(raw)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert verifier.cached(raw) is None


async def test_a_withdrawn_key_withdraws_its_tokens() -> None:
    old, new = Signer("old"), Signer("new")
    keys = KeySet()
    keys.replace(old.jwks())
    verifier = TokenVerifier(keys)
    raw = old.token()
    await verifier.verify(raw)
    keys.replace(new.jwks())
    with pytest.raises(Unauthenticated):
        await verifier.verify(raw)
    assert (await verifier.verify(new.token())).subject == "alice"


async def test_the_cache_of_tokens_is_bounded(
    signer: Signer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_CACHED_TOKENS", 3)
    raws = [signer.token(jti=str(n)) for n in range(10)]
    for raw in raws:
        await verifier.verify(raw)
    assert sum(verifier.cached(raw) is not None for raw in raws) == 3
    assert verifier.cached(raws[-1]) is not None


async def test_keys_survive_a_restart_without_admin(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "jwks.json"

    async def fetch() -> dict[str, Any]:
        return signer.jwks()

    await KeySet(path, fetch).refresh()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["jwks.json"]

    async def down() -> dict[str, Any]:
        raise Unavailable("admin is down")

    restarted = TokenVerifier(KeySet(path, down))
    assert (await restarted.verify(signer.token())).subject == "alice"


async def test_a_damaged_key_file_is_as_none(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    for content in (b"", b"{", b"[]", b"\xff", json.dumps({"keys": [{"kty": "?"}]}).encode()):
        path.write_bytes(content)
        assert len(KeySet(path)) == 0


async def test_an_empty_answer_of_admin_does_not_remove_the_keys(signer: Signer) -> None:
    keys = KeySet()
    keys.replace(signer.jwks())
    keys.replace({"keys": []})
    assert keys.get(signer.kid) is not None


async def test_an_unknown_kid_asks_admin_once() -> None:
    signer = Signer("rotated")
    asked = 0

    async def fetch() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return signer.jwks()

    verifier = TokenVerifier(KeySet(fetch=fetch))
    assert (await verifier.verify(signer.token())).subject == "alice"
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await verifier.verify(Signer("never-heard-of").token())
    assert asked == 1


async def test_without_any_key_nothing_is_said_about_a_token(signer: Signer) -> None:
    async def down() -> dict[str, Any]:
        raise Unavailable("admin is down")

    with pytest.raises(Unavailable):
        await TokenVerifier(KeySet(fetch=down)).verify(signer.token())


async def test_a_key_that_is_newer_than_the_kept_ones_is_no_verdict_while_admin_is_down(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = 0, False

    async def fetch() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if not answers:
            raise Unavailable("admin's database is down")
        return {"keys": [*signer.jwks()["keys"], *newer.jwks()["keys"]]}

    newer = Signer("newer")
    keys = KeySet(fetch=fetch, waits=True)
    keys.replace(signer.jwks())
    verifier = TokenVerifier(keys)
    assert await verifier.verify(signer.token())
    for kid in ("newer", *(f"made up {number}" for number in range(20))):
        with pytest.raises(Unavailable):
            await verifier.verify(newer.token(header={"kid": kid}))
    assert asked == 1
    answers = True
    monkeypatch.setattr(tokens, "MIN_REFRESH_SECONDS", 0.0)
    assert await verifier.verify(newer.token())
    with pytest.raises(Unauthenticated):
        await verifier.verify(newer.token(header={"kid": "made up"}))


async def test_elsewhere_it_is_refused_so_that_its_owner_gets_another_one(signer: Signer) -> None:
    async def down() -> dict[str, Any]:
        raise Unavailable("admin is down")

    keys = KeySet(fetch=down)
    keys.replace(signer.jwks())
    with pytest.raises(Unauthenticated):
        await TokenVerifier(keys).verify(Signer("newer").token())

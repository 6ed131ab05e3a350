"""Access tokens: their claims, and how every server verifies them from memory.

Admin signs (see `admin_server`), everybody else verifies with admin's public keys, which are
kept on disk so that a server restarts without admin.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
import structlog

from mesh.concurrency.single_flight import SingleFlight
from mesh.contract import DEFAULT_NAMESPACE, ELEMENT_ID
from mesh.errors import ArtStoreError, PermissionDenied, Unauthenticated, Unavailable
from mesh.identity.caller import Caller, Role
from mesh.identity.kept import write_kept
from mesh.identity.limits import Limits
from mesh.identity.suspensions import Suspensions

ISSUER = "artstore"
AUDIENCE = "artstore"
TOKEN_TYPE = "at+jwt"
ALGORITHMS = ("EdDSA", "ES256")
CLAIM_ROLE = "role"
CLAIM_READ = "ns_read"
CLAIM_WRITE = "ns_write"
CLAIM_LIMITS = "limits"
# True in what admin signs for itself; no account gets it.
CLAIM_ADMIN = "admin"
REQUIRED_CLAIMS = ("exp", "iat", "sub", "aud", "iss", CLAIM_ROLE)

_ELEMENT_AUDIENCE = f"{AUDIENCE}/"
_AUDIENCES = re.compile(f"{AUDIENCE}(/{ELEMENT_ID})?")

# By how much the clock of who issued a token may be ahead of ours.
CLOCK_SKEW_SECONDS = 60
# The longest life that ARTSTORE_TOKEN_SECONDS gives a token.
MAX_LIFE_SECONDS = 86_400
# The year 9999; what is beyond is no time.
MAX_TIME = 253_402_300_800
MAX_CACHED_TOKENS = 4096
MAX_TOKEN_BYTES = 8192
MIN_REFRESH_SECONDS = 2.0
REFRESH_TIMEOUT_SECONDS = 2.0
# Whatever key is asked for, admin answers with all.
_ALL_KEYS = "all"

Fetcher = Callable[[], Awaitable[Mapping[str, Any]]]

_log = structlog.stdlib.get_logger(__name__)


def audience_of(element_id: str) -> str:
    """The audience of tokens that are good at one storage element alone."""
    return f"{_ELEMENT_AUDIENCE}{element_id}"


def is_audience(text: str) -> bool:
    """Whether tokens may have that audience."""
    return _AUDIENCES.fullmatch(text) is not None


class KeySet:
    """The public keys that tokens may be signed with, by kid.

    Args:
        path: JWKS file the keys survive a restart in; None keeps them in memory only.
        fetch: asks admin for its JWKS; may raise any ArtStoreError.
        waits: nothing is said about a token of an unknown key while `fetch` fails; else it is
            refused, and its owner gets another one from admin. For admin itself.
    """

    def __init__(
        self, path: Path | None = None, fetch: Fetcher | None = None, *, waits: bool = False
    ) -> None:
        self._path = path
        self._fetch = fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._stored: Mapping[str, Any] = {}
        self._asked_at = -MIN_REFRESH_SECONDS
        self._asking = SingleFlight[str, None]()
        self._waits = waits
        # Whether `fetch`, when it was asked last, said which keys there are.
        self._answered = fetch is None
        self.version = 0
        if path is not None:
            self._load(path)
        self._kept_version = self.version

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def jwks(self) -> Mapping[str, Any]:
        """The JWKS as it was taken over last; empty when no key is known."""
        return self._stored

    @property
    def kids(self) -> frozenset[str]:
        """The ids of the keys that are known."""
        return frozenset(self._keys)

    def get(self, kid: str) -> jwt.PyJWK | None:
        """The key of that id, or None."""
        return self._keys.get(kid)

    def replace(self, jwks: Mapping[str, Any]) -> None:
        """Take over a JWKS as admin publishes it; an empty one is taken for a fault, and ignored.

        Keys of other algorithms than ours, or without a kid, are left out.
        """
        keys: dict[str, jwt.PyJWK] = {}
        for entry in jwks.get("keys", ()):
            try:
                key = jwt.PyJWK.from_dict(entry)
            except jwt.PyJWTError as exc:
                _log.warning("signing key not understood", reason=str(exc))
                continue
            if key.key_id and key.algorithm_name in ALGORITHMS:
                keys[key.key_id] = key
        if not keys or jwks == self._stored:
            return
        self._keys = keys
        self._stored = dict(jwks)
        self.version += 1

    async def refresh(self) -> None:
        """Ask admin for its keys and keep them on disk.

        Raises:
            Unavailable: admin does not answer; the keys known so far stay.
            OSError: they cannot be kept on disk; they are used all the same.
        """
        if self._fetch is None:
            return
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_SECONDS):
                jwks = await self._fetch()
        except TimeoutError as exc:
            self._answered = False
            raise Unavailable("admin does not answer with its signing keys") from exc
        except Exception:
            self._answered = False
            raise
        self.replace(jwks)
        self._answered = True
        if self._path is not None and self._kept_version != self.version:
            version, text = self.version, json.dumps(dict(self._stored))
            await asyncio.to_thread(write_kept, self._path, text)
            self._kept_version = version

    async def refresh_for(self, kid: str) -> jwt.PyJWK | None:
        """The key `kid`, asking admin for it if need be, at most every two seconds.

        Raises:
            Unavailable: no key at all is known, or this one is not and `fetch` fails (see
                `waits`): nothing can be said about the token.
        """
        key = self._keys.get(kid)
        if key is not None:
            return key
        due = time.monotonic() - self._asked_at >= MIN_REFRESH_SECONDS
        if due or _ALL_KEYS in self._asking:
            await self._asking.run(_ALL_KEYS, self._refresh_quietly)
        key = self._keys.get(kid)
        unsure = self._waits and not self._answered
        if key is None and (unsure or not self._keys):
            raise Unavailable(
                "the access token's key is not known, and it is not known now which keys there"
                " are: tokens cannot be verified"
            )
        return key

    async def _refresh_quietly(self) -> None:
        self._asked_at = time.monotonic()
        try:
            await self.refresh()
        except ArtStoreError as exc:
            _log.warning("signing keys not refreshed", reason=exc.message)
        except Exception:
            # Whoever waits is told about their token, from the keys there are.
            _log.exception("signing keys not refreshed")

    def _load(self, path: Path) -> None:
        try:
            self.replace(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError) as exc:
            _log.warning("kept signing keys not readable", path=str(path), reason=str(exc))


def _system_clock() -> float:
    return time.time()


class TokenVerifier:
    """Turns raw access tokens into callers; a token seen before costs a dictionary lookup.

    Args:
        now: seconds since 1970 that expiry is judged by.
        element_id: of the element that verifies, which takes the tokens made for it besides those
            for every server; empty for the other servers.
        suspensions: whose tokens are refused all the same.
    """

    def __init__(
        self,
        keys: KeySet,
        now: Callable[[], float] = _system_clock,
        *,
        element_id: str = "",
        suspensions: Suspensions | None = None,
    ) -> None:
        self.suspensions = Suspensions() if suspensions is None else suspensions
        self.keys = keys
        self._now = now
        self._own_audience = audience_of(element_id) if element_id else ""
        self._audiences = [name for name in (AUDIENCE, self._own_audience) if name]
        self._cached: dict[str, tuple[Caller, float]] = {}
        self._cached_version = keys.version

    def cached(self, raw: str) -> Caller | None:
        """The caller of a token verified before and still valid, else None."""
        if self._cached_version != self.keys.version:
            self._cached.clear()
            self._cached_version = self.keys.version
            return None
        found = self._cached.get(raw)
        if found is None or found[1] <= self._now():
            return None
        return found[0]

    def seconds_left(self, caller: Caller) -> float:
        """How long the caller's token still lives."""
        return caller.expires_at - self._now()

    async def verify(self, raw: str) -> Caller:
        """The caller that `raw` names, suspended or not: that is looked at for each call, and
        while it goes on (`mesh.server.interceptors.standing`).

        Raises:
            Unauthenticated: malformed, expired, signed by nobody we know, or for others.
            PermissionDenied: good, but of a role that is not known here.
            Unavailable: no signing key is known yet.
        """
        caller = self.cached(raw)
        if caller is not None:
            return caller
        key = await self._key_for(raw)
        claims = _decode(raw, key, self._audiences, self._now())
        caller = _caller_of(claims, raw, self._own_audience)
        self._remember(raw, caller, float(claims["exp"]))
        return caller

    async def _key_for(self, raw: str) -> jwt.PyJWK:
        if len(raw) > MAX_TOKEN_BYTES:
            raise Unauthenticated("access token is too long", reason="TOKEN_MALFORMED")
        try:
            header = jwt.get_unverified_header(raw)
        except jwt.PyJWTError as exc:
            raise Unauthenticated(
                "access token is not a JWT; get one from TokenService.IssueToken",
                reason="TOKEN_MALFORMED",
            ) from exc
        if header.get("alg") not in ALGORITHMS:
            raise Unauthenticated(
                f"access token must be signed with {' or '.join(ALGORITHMS)}",
                reason="TOKEN_ALGORITHM",
            )
        if str(header.get("typ", "")).lower() != TOKEN_TYPE:
            raise Unauthenticated(
                f"not an access token: its typ is not {TOKEN_TYPE}", reason="TOKEN_TYPE"
            )
        kid = header.get("kid")
        key = await self.keys.refresh_for(kid) if isinstance(kid, str) and kid else None
        if key is None or key.algorithm_name != header["alg"]:
            raise Unauthenticated(
                "access token is signed with an unknown key; get a new one", reason="TOKEN_KEY"
            )
        return key

    def _remember(self, raw: str, caller: Caller, expires: float) -> None:
        if len(self._cached) >= MAX_CACHED_TOKENS:
            now = self._now()
            self._cached = {k: v for k, v in self._cached.items() if v[1] > now}
            while len(self._cached) >= MAX_CACHED_TOKENS:
                del self._cached[next(iter(self._cached))]
        self._cached[raw] = (caller, expires)


def _decode(raw: str, key: jwt.PyJWK, audiences: Sequence[str], now: float) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            raw,
            key.key,
            algorithms=[key.algorithm_name],
            audience=audiences,
            issuer=ISSUER,
            # Times are judged below, by the clock that this server goes by.
            options={
                "require": list(REQUIRED_CLAIMS),
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.InvalidAudienceError as exc:
        raise Unauthenticated(
            f"access token is not for audience {' or '.join(audiences)}", reason="TOKEN_AUDIENCE"
        ) from exc
    except jwt.InvalidSignatureError as exc:
        raise Unauthenticated(
            "access token's signature is wrong", reason="TOKEN_SIGNATURE"
        ) from exc
    except jwt.PyJWTError as exc:
        raise Unauthenticated(
            f"access token is not valid: {type(exc).__name__}", reason="TOKEN_INVALID"
        ) from exc
    _check_times(claims, now)
    return claims


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    """Clocks of servers differ a little, so "not yet" has a tolerance and "expired" has none."""
    expires, issued = _time_in(claims, "exp"), _time_in(claims, "iat")
    begins = _time_in(claims, "nbf") if "nbf" in claims else issued
    if not expires > now:
        raise Unauthenticated(
            f"access token has expired {now - expires:.0f} s ago by this server's clock; get a new"
            " one, and if that is refused as well, compare the clocks of this server and of admin",
            reason="TOKEN_EXPIRED",
        )
    for value in (issued, begins):
        if value > now + CLOCK_SKEW_SECONDS:
            raise Unauthenticated(
                f"access token is not valid yet for {value - now:.0f} s by this server's clock: it"
                " and admin's clock differ, one of them is wrong",
                reason="TOKEN_NOT_YET_VALID",
            )
    if expires - issued > MAX_LIFE_SECONDS:
        raise Unauthenticated(
            f"access token is not valid: it would live longer than {MAX_LIFE_SECONDS} s",
            reason="TOKEN_INVALID",
        )


def _time_in(claims: Mapping[str, Any], claim: str) -> float:
    """A time that a token says, seconds since 1970. JSON as Python reads it has NaN and Infinity,
    which would pass every comparison, and whole numbers that no float can hold.
    """
    value = claims[claim]
    if type(value) not in (int, float) or not 0 <= value < MAX_TIME or not math.isfinite(value):
        raise Unauthenticated(
            f"access token is not valid: {claim} is no time", reason="TOKEN_INVALID"
        )
    return float(value)


def _caller_of(claims: Mapping[str, Any], raw: str, own_audience: str) -> Caller:
    try:
        role = Role(claims[CLAIM_ROLE])
    except ValueError as exc:
        raise PermissionDenied("the token's role is not known here", reason="UNKNOWN_ROLE") from exc
    if role is Role.ANONYMOUS:
        raise PermissionDenied("ANONYMOUS is no role of an account", reason="UNKNOWN_ROLE")
    try:
        limits = Limits.of_claim(claims.get(CLAIM_LIMITS))
    except (TypeError, ValueError) as exc:
        raise Unauthenticated(f"access token is not valid: {exc}", reason="TOKEN_INVALID") from exc
    for_this_element = bool(own_audience) and claims["aud"] == own_audience
    return Caller(
        subject=str(claims["sub"]),
        role=role,
        namespaces_read=_namespaces(claims.get(CLAIM_READ)),
        namespaces_write=_namespaces(claims.get(CLAIM_WRITE)),
        token=raw,
        limits=limits,
        from_admin=claims.get(CLAIM_ADMIN) is True and for_this_element,
        for_this_element=for_this_element,
        issued_at=float(claims["iat"]),
        expires_at=float(claims["exp"]),
    )


def _namespaces(claim: object) -> frozenset[str]:
    if not isinstance(claim, list) or not claim:
        return frozenset({DEFAULT_NAMESPACE})
    return frozenset(name for name in claim if isinstance(name, str))

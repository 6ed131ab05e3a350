"""Who may call: accounts, and the tokens that they are given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from admin_server.accounts.attempts import WrongLogins
from admin_server.accounts.directory import AccountDirectory
from admin_server.accounts.login import Login
from admin_server.accounts.refused import RefusedAccounts
from admin_server.accounts.secrets import SecretHasher
from admin_server.accounts.suspensions import SuspensionTable
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from admin_server.keys.issuer import TokenIssuer
from admin_server.keys.rotation import KeyRotation
from admin_server.keys.table import KeyTable
from admin_server.rpc.tokens import TokenServicer
from admin_server.settings import AdminSettings
from mesh.identity.suspensions import Suspensions
from mesh.identity.tokens import KeySet, TokenVerifier
from mesh.postgres.database import Database
from mesh.redis import open_redis


@dataclass(frozen=True, slots=True)
class Access:
    """One of each per process.

    Attributes:
        hasher: of secrets; closed at the end.
        directory: accounts, as admins see them.
        login: checks secrets.
        issuer: signs tokens.
        rotation: changes the keys that sign.
        verifier: verifies them, and knows whose are refused all the same.
        refused: whose those are, and everybody's list of them.
    """

    hasher: SecretHasher
    directory: AccountDirectory
    login: Login
    issuer: TokenIssuer
    rotation: KeyRotation
    verifier: TokenVerifier
    refused: RefusedAccounts

    @property
    def keys(self) -> KeySet:
        """What tokens are verified with."""
        return self.verifier.keys

    def token_servicer(self) -> TokenServicer:
        """TokenService, over all of this."""
        return TokenServicer(self.login, self.issuer, self.rotation, self.keys, self.refused)

    async def close(self) -> None:
        """Let go of threads and connections."""
        self.hasher.close()
        await self.refused.close()


async def wire_access(settings: AdminSettings, database: Database, *, now: Clock) -> Access:
    """Reads what is kept in files, keys and suspensions; the rest asks for nothing yet."""
    hasher, accounts = SecretHasher(), AccountTable(database)
    rotation = KeyRotation(
        KeyTable(database),
        rotation=settings.key_rotation,
        token_life=timedelta(seconds=settings.token_seconds),
        now=now,
    )
    suspensions = await asyncio.to_thread(Suspensions, settings.suspensions_file)
    redis = open_redis(settings.redis_url) if settings.redis_url else None
    keys = await asyncio.to_thread(KeySet, settings.keys_file, rotation.jwks, waits=True)
    return Access(
        hasher=hasher,
        directory=AccountDirectory(accounts, hasher, now=now, reserved=settings.own_name),
        login=Login(accounts, hasher, WrongLogins(), now=now),
        issuer=TokenIssuer(rotation, lifetime_seconds=settings.token_seconds, now=now),
        rotation=rotation,
        verifier=TokenVerifier(keys, suspensions=suspensions),
        refused=RefusedAccounts(SuspensionTable(database), suspensions, redis, now=now),
    )

"""Who may call: accounts, and the tokens that they are given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from admin_server.accounts.attempts import WrongAttempts
from admin_server.accounts.bindings import Bindings
from admin_server.accounts.directory import AccountDirectory
from admin_server.accounts.login import Login
from admin_server.accounts.secrets import SecretHasher
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from admin_server.keys.issuer import TokenIssuer
from admin_server.keys.rotation import KeyRotation
from admin_server.keys.table import KeyTable
from admin_server.settings import AdminSettings
from mesh.identity.tokens import KeySet
from mesh.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Access:
    """One of each per process.

    Attributes:
        hasher: of secrets; closed at the end.
        directory: accounts, as admins see them.
        bindings: which account reports for which element.
        login: checks secrets.
        issuer: signs tokens.
        rotation: changes the keys that sign.
        keys: what they are verified with.
    """

    hasher: SecretHasher
    directory: AccountDirectory
    bindings: Bindings
    login: Login
    issuer: TokenIssuer
    rotation: KeyRotation
    keys: KeySet


async def wire_access(settings: AdminSettings, database: Database, *, now: Clock) -> Access:
    """Reads the keys that are kept in a file; the rest asks for nothing yet."""
    hasher, accounts = SecretHasher(), AccountTable(database)
    rotation = KeyRotation(
        KeyTable(database),
        rotation=settings.key_rotation,
        token_life=timedelta(seconds=settings.token_seconds),
        now=now,
    )
    return Access(
        hasher=hasher,
        directory=AccountDirectory(accounts, hasher, now=now),
        bindings=Bindings(database),
        login=Login(accounts, hasher, WrongAttempts(), now=now),
        issuer=TokenIssuer(rotation, lifetime_seconds=settings.token_seconds, now=now),
        rotation=rotation,
        keys=await asyncio.to_thread(KeySet, settings.keys_file, rotation.jwks, waits=True),
    )

"""Accounts of people and servers, and the keys that their tokens are signed with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from artstore.v1 import accounts_pb2, tokens_pb2
from artstore.v1.accounts_pb2 import AccountLimits, Role, ServiceAccount
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE


class AccountCalls:
    """What an ADMIN does with accounts; get it from `Client.accounts`.

    An account gives only what it has: PermissionDenied, reason NAMESPACE, beyond its own
    namespaces. NotFound where there is no account of that name.
    """

    def __init__(self, connection: Connection) -> None:
        self._calls = connection.calls
        self._connection = connection

    async def create(
        self,
        client_id: str = "",
        *,
        role: Role.ValueType,
        namespaces: Sequence[str] = (),
        read_namespaces: Sequence[str] = (),
        description: str = "",
        limits: AccountLimits | None = None,
    ) -> accounts_pb2.CreateServiceAccountResponse:
        """Make an account; the answer has its secret, which is shown only there.

        Args:
            client_id: 3 to 64 of a-z, 0-9, `-`, `_`, `.`; made by admin if empty.
            namespaces: it may read and write these, as far as its role does; `*` means all. None
                means `default`, and all for role SERVICE.
            read_namespaces: it may read these besides.
            limits: those of its own; unset ones are the defaults.

        Raises:
            AlreadyExists: the name is taken.
        """
        return await self._calls.unary(
            self._connection.accounts().CreateServiceAccount,
            accounts_pb2.CreateServiceAccountRequest(
                client_id=client_id,
                role=role,
                namespaces=namespaces,
                read_namespaces=read_namespaces,
                description=description,
                limits=limits,
            ),
            doing="CreateServiceAccount on admin",
        )

    async def list(self) -> AsyncGenerator[ServiceAccount, None]:
        """All accounts by name, without their secrets (also AUDITOR)."""

        async def ask(token: str) -> accounts_pb2.ListServiceAccountsResponse:
            return await self._calls.unary(
                self._connection.accounts().ListServiceAccounts,
                accounts_pb2.ListServiceAccountsRequest(page_size=MAX_PAGE_SIZE, page_token=token),
                doing="ListServiceAccounts on admin",
            )

        async for page in pages(ask):
            for account in page.accounts:
                yield account

    async def show(self, client_id: str) -> ServiceAccount:
        """One account, without its secret (also AUDITOR)."""
        answer = await self._calls.unary(
            self._connection.accounts().GetServiceAccount,
            accounts_pb2.GetServiceAccountRequest(client_id=client_id),
            doing="GetServiceAccount on admin",
        )
        return answer.account

    async def update(self, client_id: str, **changes: object) -> ServiceAccount:
        """Change an account; its next token has the new values.

        Tokens of before are refused within 30 s if the change takes something away.

        Args:
            changes: any of role, namespaces, read_namespaces, description, limits. Lists are
                replaced as a whole; of limits, only those that are set are changed, and an empty
                one gives them all their defaults.

        Raises:
            FailedPrecondition: reason LAST_ADMIN, no ADMIN would be left.
        """
        account = ServiceAccount(**changes)  # type: ignore[arg-type]
        paths = sorted(changes.keys() - {"limits"})
        if "limits" in changes:
            given = [f"limits.{field.name}" for field, _ in account.limits.ListFields()]
            paths += given or ["limits"]
        answer = await self._calls.unary(
            self._connection.accounts().UpdateServiceAccount,
            accounts_pb2.UpdateServiceAccountRequest(
                client_id=client_id, account=account, update_mask=FieldMask(paths=paths)
            ),
            doing="UpdateServiceAccount on admin",
        )
        return answer.account

    async def rotate(
        self, client_id: str, *, overlap_seconds: int = 0
    ) -> accounts_pb2.RotateServiceAccountResponse:
        """Give an account a new secret; the answer has it, and it is shown only there.

        Args:
            overlap_seconds: the old secret goes on for that long, at most 30 days. 0: it ends at
                once, and all tokens of before are refused within 30 s.
        """
        return await self._calls.unary(
            self._connection.accounts().RotateServiceAccount,
            accounts_pb2.RotateServiceAccountRequest(
                client_id=client_id, overlap_seconds=overlap_seconds
            ),
            doing="RotateServiceAccount on admin",
        )

    async def suspend(self, client_id: str) -> ServiceAccount:
        """Give an account no more tokens; those it has are refused within 30 s.

        Raises:
            FailedPrecondition: reason LAST_ADMIN, no ADMIN would be left.
        """
        answer = await self._calls.unary(
            self._connection.accounts().SuspendServiceAccount,
            accounts_pb2.SuspendServiceAccountRequest(client_id=client_id),
            doing="SuspendServiceAccount on admin",
        )
        return answer.account

    async def resume(self, client_id: str) -> ServiceAccount:
        """Lift a suspension."""
        answer = await self._calls.unary(
            self._connection.accounts().ResumeServiceAccount,
            accounts_pb2.ResumeServiceAccountRequest(client_id=client_id),
            doing="ResumeServiceAccount on admin",
        )
        return answer.account

    async def delete(self, client_id: str) -> None:
        """Remove an account for good; tokens it has are refused within 30 s.

        Raises:
            FailedPrecondition: reason LAST_ADMIN, no ADMIN would be left.
        """
        await self._calls.unary(
            self._connection.accounts().DeleteServiceAccount,
            accounts_pb2.DeleteServiceAccountRequest(client_id=client_id),
            doing="DeleteServiceAccount on admin",
        )


class KeyCalls:
    """What an ADMIN of all namespaces does with signing keys; get it from `Client.keys`."""

    def __init__(self, connection: Connection) -> None:
        self._calls = connection.calls
        self._connection = connection

    async def rotate(self) -> tokens_pb2.RotateKeysResponse:
        """Have tokens signed with a new key; those of the old one live out. Takes about 3 s."""
        return await self._calls.unary(
            self._connection.tokens_at_admin().RotateKeys,
            tokens_pb2.RotateKeysRequest(),
            doing="RotateKeys on admin",
        )

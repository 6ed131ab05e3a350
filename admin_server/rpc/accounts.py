"""ServiceAccountService."""

from __future__ import annotations

from typing import Any

from admin_server.accounts.account import Account
from admin_server.accounts.directory import AccountDirectory
from admin_server.paging import decode_page_token, encode_page_token, page_size_of
from admin_server.rpc.times import timestamp
from artstore.v1 import admin_pb2, admin_pb2_grpc
from mesh.caller import Role, current_caller
from mesh.errors import InvalidArgument

_LISTING = "accounts"

_ROLES: dict[int, Role] = {
    admin_pb2.ROLE_READONLY: Role.READONLY,
    admin_pb2.ROLE_USER: Role.USER,
    admin_pb2.ROLE_AUDITOR: Role.AUDITOR,
    admin_pb2.ROLE_SERVICE: Role.SERVICE,
    admin_pb2.ROLE_ADMIN: Role.ADMIN,
}
_ROLE_VALUES = {role: admin_pb2.Role.Value(f"ROLE_{role.value}") for role in _ROLES.values()}


class AccountServicer(admin_pb2_grpc.ServiceAccountServiceServicer):
    """Accounts of people and servers."""

    def __init__(self, directory: AccountDirectory) -> None:
        self._directory = directory

    async def CreateServiceAccount(
        self, request: admin_pb2.CreateServiceAccountRequest, context: Any
    ) -> admin_pb2.CreateServiceAccountResponse:
        """Make one."""
        account, secret = await self._directory.create(
            client_id=request.client_id,
            role=_role(request.role),
            namespaces=request.namespaces,
            read_namespaces=request.read_namespaces,
            description=request.description,
            created_by=current_caller().subject,
        )
        return admin_pb2.CreateServiceAccountResponse(
            account=_message(account), client_secret=secret
        )

    async def ListServiceAccounts(
        self, request: admin_pb2.ListServiceAccountsRequest, context: Any
    ) -> admin_pb2.ListServiceAccountsResponse:
        """List them by name."""
        size = page_size_of(request.page_size)
        key = decode_page_token(_LISTING, request.page_token, str)
        after = str(key[0]) if key else ""
        accounts, total = await self._directory.page(after, size + 1)
        more = len(accounts) > size
        return admin_pb2.ListServiceAccountsResponse(
            accounts=[_message(account) for account in accounts[:size]],
            next_page_token=(
                encode_page_token(_LISTING, accounts[size - 1].client_id) if more else ""
            ),
            total_size=total,
        )

    async def RotateServiceAccount(
        self, request: admin_pb2.RotateServiceAccountRequest, context: Any
    ) -> admin_pb2.RotateServiceAccountResponse:
        """Give one a new secret."""
        account, secret = await self._directory.rotate(request.client_id, request.overlap_seconds)
        return admin_pb2.RotateServiceAccountResponse(
            account=_message(account), client_secret=secret
        )

    async def SuspendServiceAccount(
        self, request: admin_pb2.SuspendServiceAccountRequest, context: Any
    ) -> admin_pb2.SuspendServiceAccountResponse:
        """No tokens for one."""
        account = await self._directory.suspend(request.client_id)
        return admin_pb2.SuspendServiceAccountResponse(account=_message(account))

    async def ResumeServiceAccount(
        self, request: admin_pb2.ResumeServiceAccountRequest, context: Any
    ) -> admin_pb2.ResumeServiceAccountResponse:
        """Tokens again."""
        account = await self._directory.resume(request.client_id)
        return admin_pb2.ResumeServiceAccountResponse(account=_message(account))


def _role(value: int) -> Role:
    role = _ROLES.get(value)
    if role is None:
        raise InvalidArgument(
            "role is one of READONLY, USER, AUDITOR, SERVICE, ADMIN", field="role"
        )
    return role


def _message(account: Account) -> admin_pb2.ServiceAccount:
    return admin_pb2.ServiceAccount(
        client_id=account.client_id,
        role=_ROLE_VALUES[account.role],
        namespaces=account.namespaces,
        read_namespaces=account.read_namespaces,
        description=account.description,
        suspended=account.suspended,
        created_at=timestamp(account.created_at),
        rotated_at=timestamp(account.rotated_at),
    )

"""ServiceAccountService."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, replace
from typing import Any

from admin_server.accounts.account import Account
from admin_server.accounts.directory import AccountDirectory
from admin_server.accounts.limits import GivenLimits
from admin_server.rpc.times import timestamp
from artstore.v1 import accounts_pb2, accounts_pb2_grpc
from mesh.errors import InvalidArgument
from mesh.identity.caller import Role, current_caller
from mesh.paging import AskedPage

_LIMITS = tuple(field.name for field in fields(GivenLimits))
_UPDATABLE = (
    "role",
    "namespaces",
    "read_namespaces",
    "description",
    "limits",
    *(f"limits.{name}" for name in _LIMITS),
)

_ROLES: dict[int, Role] = {
    accounts_pb2.ROLE_READONLY: Role.READONLY,
    accounts_pb2.ROLE_USER: Role.USER,
    accounts_pb2.ROLE_AUDITOR: Role.AUDITOR,
    accounts_pb2.ROLE_SERVICE: Role.SERVICE,
    accounts_pb2.ROLE_ADMIN: Role.ADMIN,
}
_ROLE_VALUES = {role: accounts_pb2.Role.Value(f"ROLE_{role.value}") for role in _ROLES.values()}


class AccountServicer(accounts_pb2_grpc.ServiceAccountServiceServicer):
    """Accounts of people and servers."""

    def __init__(self, directory: AccountDirectory, ended: Callable[[], Awaitable[None]]) -> None:
        """`ended` has everybody know, before the answer, whose tokens may have been ended."""
        self._directory = directory
        self._ended = ended

    async def CreateServiceAccount(
        self, request: accounts_pb2.CreateServiceAccountRequest, context: Any
    ) -> accounts_pb2.CreateServiceAccountResponse:
        """Make one."""
        account, secret = await self._directory.create(
            current_caller(),
            client_id=request.client_id,
            role=_role(request.role),
            namespaces=request.namespaces,
            read_namespaces=request.read_namespaces,
            description=request.description,
            limits=GivenLimits(**_set_limits(request.limits)),
        )
        return accounts_pb2.CreateServiceAccountResponse(
            account=_message(account), client_secret=secret
        )

    async def GetServiceAccount(
        self, request: accounts_pb2.GetServiceAccountRequest, context: Any
    ) -> accounts_pb2.GetServiceAccountResponse:
        """Describe one."""
        account = await self._directory.get(current_caller(), request.client_id)
        return accounts_pb2.GetServiceAccountResponse(account=_message(account))

    async def ListServiceAccounts(
        self, request: accounts_pb2.ListServiceAccountsRequest, context: Any
    ) -> accounts_pb2.ListServiceAccountsResponse:
        """List them by name."""
        asked = AskedPage.of(request, ("accounts",), str)
        after = asked.after[0] if asked.after else ""
        found, total = await self._directory.page(current_caller(), after, asked.size + 1)
        accounts, token = asked.page(found, lambda account: (account.client_id,))
        return accounts_pb2.ListServiceAccountsResponse(
            accounts=[_message(account) for account in accounts],
            next_page_token=token,
            total_size=total,
        )

    async def UpdateServiceAccount(
        self, request: accounts_pb2.UpdateServiceAccountRequest, context: Any
    ) -> accounts_pb2.UpdateServiceAccountResponse:
        """Change one."""
        account = await self._directory.update(
            current_caller(), request.client_id, _change_of(request)
        )
        await self._tell_end_of(request.client_id)
        return accounts_pb2.UpdateServiceAccountResponse(account=_message(account))

    async def DeleteServiceAccount(
        self, request: accounts_pb2.DeleteServiceAccountRequest, context: Any
    ) -> accounts_pb2.DeleteServiceAccountResponse:
        """Remove one."""
        await self._directory.delete(current_caller(), request.client_id)
        await self._tell_end_of(request.client_id)
        return accounts_pb2.DeleteServiceAccountResponse()

    async def RotateServiceAccount(
        self, request: accounts_pb2.RotateServiceAccountRequest, context: Any
    ) -> accounts_pb2.RotateServiceAccountResponse:
        """Give one a new secret."""
        account, secret = await self._directory.rotate(
            current_caller(), request.client_id, request.overlap_seconds
        )
        if not request.overlap_seconds:
            await self._tell_end_of(request.client_id)
        return accounts_pb2.RotateServiceAccountResponse(
            account=_message(account), client_secret=secret
        )

    async def SuspendServiceAccount(
        self, request: accounts_pb2.SuspendServiceAccountRequest, context: Any
    ) -> accounts_pb2.SuspendServiceAccountResponse:
        """No tokens for one."""
        account = await self._directory.suspend(current_caller(), request.client_id)
        await self._tell_end_of(request.client_id)
        return accounts_pb2.SuspendServiceAccountResponse(account=_message(account))

    async def ResumeServiceAccount(
        self, request: accounts_pb2.ResumeServiceAccountRequest, context: Any
    ) -> accounts_pb2.ResumeServiceAccountResponse:
        """Tokens again."""
        account = await self._directory.resume(current_caller(), request.client_id)
        return accounts_pb2.ResumeServiceAccountResponse(account=_message(account))

    async def _tell_end_of(self, client_id: str) -> None:
        # Who ends his own tokens has to have the answer first: his call would end, too.
        if client_id != current_caller().subject:
            await self._ended()


def _change_of(
    request: accounts_pb2.UpdateServiceAccountRequest,
) -> Callable[[Account], Account]:
    """What an update makes of an account."""
    values: dict[str, Any] = {}
    limits: dict[str, int | None] = {}
    for name in _updated(request):
        field, _, limit = name.partition(".")
        if limit:
            limits[limit] = _set_limits(request.account.limits).get(limit)
        elif field == "limits":
            limits |= dict.fromkeys(_LIMITS) | _set_limits(request.account.limits)
        elif field == "role":
            values[field] = _role(request.account.role)
        elif field == "description":
            values[field] = request.account.description
        else:
            values[field] = tuple(dict.fromkeys(getattr(request.account, field)))
    return lambda account: replace(account, **values, limits=replace(account.limits, **limits))


def _updated(request: accounts_pb2.UpdateServiceAccountRequest) -> list[str]:
    """The fields that an update names, or else sets."""
    names = list(dict.fromkeys(request.update_mask.paths))
    for name in names:
        if name not in _UPDATABLE:
            raise InvalidArgument(f"{name[:64]!r} cannot be updated", field="update_mask")
    if not names:
        fields = [field.name for field, _ in request.account.ListFields()]
        names = [name for name in fields if name in _UPDATABLE and name != "limits"]
        names += [f"limits.{name}" for name in _set_limits(request.account.limits)]
    if not names:
        raise InvalidArgument("nothing to update", field="update_mask")
    return names


def _set_limits(limits: accounts_pb2.AccountLimits) -> dict[str, int]:
    return {field.name: value for field, value in limits.ListFields()}


def _role(value: int) -> Role:
    role = _ROLES.get(value)
    if role is None:
        raise InvalidArgument(
            "role is one of READONLY, USER, AUDITOR, SERVICE, ADMIN", field="role"
        )
    return role


def _message(account: Account) -> accounts_pb2.ServiceAccount:
    return accounts_pb2.ServiceAccount(
        client_id=account.client_id,
        role=_ROLE_VALUES[account.role],
        namespaces=account.namespaces,
        read_namespaces=account.read_namespaces,
        description=account.description,
        suspended=account.suspended,
        created_at=timestamp(account.created_at),
        rotated_at=timestamp(account.rotated_at),
        limits=accounts_pb2.AccountLimits(**asdict(account.limits)),
        old_secret_ends_at=(
            None if account.old_secret_ends_at is None else timestamp(account.old_secret_ends_at)
        ),
        created_by=account.created_by,
    )

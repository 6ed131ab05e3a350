"""How many calls are under way: of a method, of a caller or an address, and in all.

A call counts until its answer has been taken, not only until its handler is done.
"""

from __future__ import annotations

import asyncio
from functools import partial
from ipaddress import IPv6Address, IPv6Network
from typing import Any, TypeVar
from urllib.parse import unquote

from mesh.errors import ResourceExhausted
from mesh.identity.call_limits import LimitTable
from mesh.identity.caller import ANONYMOUS, Role
from mesh.server.interceptors.held import Held
from mesh.server.interceptors.wrapping import Call, Proceed

T = TypeVar("T")

RETRY_SECONDS = 1.0

# Calls of those that run the mesh are let in while others fill it; each has limits of its own.
_LET_IN = frozenset({Role.SERVICE, Role.ADMIN})
# Of IPv6 everybody has as many addresses as he likes.
_ONE_NETWORK_BITS = 64


class Admission:
    """Counts calls and refuses those beyond the table, each by its own caller's share first."""

    def __init__(self, limits: LimitTable) -> None:
        self._limits = limits
        self._with_token = 0
        self._anonymous = 0
        self._of_method: dict[str, int] = {}
        self._of_caller: dict[str, int] = {}
        self._of_both: dict[tuple[str, str], int] = {}
        self._waiting: dict[str, dict[Held, None]] = {}

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Let one call in and count it while it goes on."""
        anonymous = call.caller is ANONYMOUS
        who = owner_of(call)
        self._require_room(call, who, anonymous=anonymous)
        self._count(call.method, who, 1, anonymous=anonymous)
        ended = partial(self._count, call.method, who, -1, anonymous=anonymous)
        call.context.add_done_callback(lambda _: ended())  # type: ignore[arg-type]
        if anonymous:
            return await self._proceed_waiting(call, request, who, proceed)
        return await proceed(call, request)

    def _require_room(self, call: Call, who: str, *, anonymous: bool) -> None:
        limits, server = self._limits.of(call.method), self._limits.server
        of_both = self._of_both.get((call.method, who), 0)
        most = limits.calls_per_address if anonymous else limits.calls_per_caller
        if of_both >= most:
            whose = "this address" if anonymous else f"account {who}"
            raise _too_many(f"{whose} has {of_both} of these calls under way", most)
        if not anonymous and self._of_caller.get(who, 0) >= call.caller.limits.calls:
            most = call.caller.limits.calls
            raise _too_many(f"account {who} has as many calls under way here as it may", most)
        if call.peer.role in _LET_IN and call.peer is call.caller:
            return
        if self._of_method.get(call.method, 0) >= limits.calls:
            raise _too_many("this server has as many of these calls as it takes", limits.calls)
        in_all = self._anonymous if anonymous else self._with_token
        most = server.anonymous_calls if anonymous else server.calls
        if in_all >= most:
            raise _too_many("this server has as many calls under way as it takes", most)

    def _count(self, method: str, who: str, change: int, *, anonymous: bool) -> None:
        if anonymous:
            self._anonymous += change
        else:
            self._with_token += change
        _add(self._of_method, method, change)
        _add(self._of_caller, who, change)
        _add(self._of_both, (method, who), change)

    async def _proceed_waiting(self, call: Call, request: Any, who: str, proceed: Proceed) -> Any:
        """End the call that waits longest for its message, where too many of an address do.

        Whoever has something to say says it at once, and is not kept out by those who wait.
        """
        task = asyncio.current_task()
        assert task is not None
        waiting = self._waiting.setdefault(who, {})
        held = Held(call, task)
        waiting[held] = None

        def came() -> None:
            waiting.pop(held, None)
            if not waiting and self._waiting.get(who) is waiting:
                del self._waiting[who]

        if len(waiting) > self._limits.server.waiting_per_address:
            longest = next(iter(waiting))
            del waiting[longest]
            longest.end(
                _too_many(
                    "too many calls of this address wait for their message",
                    self._limits.server.waiting_per_address,
                )
            )
        call.messages.on_first = came
        try:
            return await held.run(request, proceed)
        finally:
            came()


def owner_of(call: Call) -> str:
    """Whose call it is: an account, or without one an address."""
    if call.caller is ANONYMOUS:
        # No account has a colon in its name.
        return f"address:{address_of(call.context.peer())}"
    return call.caller.subject


def _add(counted: dict[T, int], key: T, change: int) -> None:
    left = counted.get(key, 0) + change
    if left:
        counted[key] = left
    else:
        del counted[key]


def address_of(peer: str) -> str:
    """The host of `ipv4:1.2.3.4:5`; of IPv6 its network."""
    kind, _, rest = peer.partition(":")
    if kind == "ipv4":
        return rest.rpartition(":")[0]
    if kind != "ipv6":
        return kind
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _ONE_NETWORK_BITS), strict=False).network_address)


def _too_many(what: str, most: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"{what}, at most {most}: try again when some have ended",
        retry_after_seconds=RETRY_SECONDS,
        reason="TOO_MANY_CALLS",
        metadata={"calls": str(most)},
    )

"""A storage element as admin knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from mesh.contract import MAX_REASON_CHARACTERS
from mesh.elements.seen import ELEMENT_ID, is_young
from mesh.errors import InvalidArgument

# When an element has reported that has not yet.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
MODES = ("edit", "rw", "ro", "ar")
# An element that cannot reach its database does not know how full it is.
FILL_LEVELS = ("", "ok", "warning", "critical", "full")
BACKENDS = ("local", "s3")

_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]{1,253}):([0-9]{1,5})")
# Schemes of gRPC's targets: it would not take these for hosts.
_SCHEMES = frozenset({"unix", "unix-abstract", "dns", "ipv4", "ipv6", "vsock", "xds", "google-c2p"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_EPOCH_CHARACTERS = 64
_MAX_FOLLOWERS = 100
_MAX_PEERS = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """What an element says of itself; fields as in the message, enums as their short words."""

    storage_element_id: str
    store_id: str
    endpoint: str
    mode: str
    priority: int
    capacity_bytes: int
    used_bytes: int
    reserved_bytes: int
    file_count: int
    fill_level: str
    writable: bool
    is_writer: bool
    backend: str
    epoch: str
    sequence: int
    unwritable_reason: str = ""
    followers_behind: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()

    def check(self) -> None:
        """
        Raises:
            InvalidArgument: a field cannot be true of an element.
        """
        self._match("storage_element_id", ELEMENT_ID, "a name like se-01")
        self._match("store_id", _UUID, "a UUID in lower case")
        if not _is_endpoint(self.endpoint):
            raise _wrong("endpoint", "host:port")
        self._among("mode", MODES)
        self._among("fill_level", FILL_LEVELS)
        self._among("backend", BACKENDS)
        if len(self.epoch) > _MAX_EPOCH_CHARACTERS or not self.epoch.isprintable():
            raise _wrong("epoch", f"at most {_MAX_EPOCH_CHARACTERS} printable characters")
        reason = self.unwritable_reason
        if len(reason) > MAX_REASON_CHARACTERS or not reason.isprintable():
            raise _wrong("unwritable_reason", f"at most {MAX_REASON_CHARACTERS} characters")
        behind = self.followers_behind
        if len(behind) > _MAX_FOLLOWERS or not all(one.isprintable() for one in behind):
            raise _wrong("followers_behind", f"at most {_MAX_FOLLOWERS} names of accounts")
        if len(self.peers) > _MAX_PEERS or not all(map(ELEMENT_ID.fullmatch, self.peers)):
            raise _wrong("peer_storage_element_ids", f"at most {_MAX_PEERS} names like se-01")
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is int and value < 0:
                raise _wrong(field.name, "0 or more")

    def _match(self, name: str, pattern: re.Pattern[str], what: str) -> None:
        if pattern.fullmatch(getattr(self, name)) is None:
            raise _wrong(name, what)

    def _among(self, name: str, words: tuple[str, ...]) -> None:
        if getattr(self, name) not in words:
            raise _wrong(name, " or ".join(filter(None, words)))


def unreported(storage_element_id: str, endpoint: str) -> Report:
    """What stands for the report of an element that was made and has made none.

    Args:
        endpoint: whose host its first report must have; empty for any.
    """
    return Report(
        storage_element_id=storage_element_id,
        store_id="",
        endpoint=endpoint,
        mode="",
        priority=0,
        capacity_bytes=0,
        used_bytes=0,
        reserved_bytes=0,
        file_count=0,
        fill_level="",
        writable=False,
        is_writer=False,
        backend="",
        epoch="",
        sequence=0,
    )


def check_endpoint(endpoint: str) -> None:
    """
    Raises:
        InvalidArgument: it is no host:port.
    """
    if not _is_endpoint(endpoint):
        raise InvalidArgument("endpoint must be host:port", field="endpoint")


def _is_endpoint(text: str) -> bool:
    found = _ENDPOINT.fullmatch(text)
    return found is not None and found[1].lower() not in _SCHEMES


def _wrong(name: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"report.{name} must be {what}", field=f"report.{name}")


@dataclass(frozen=True, slots=True)
class Removed:
    """An element that is part of the mesh no more."""

    storage_element_id: str


@dataclass(frozen=True, slots=True)
class AllTold:
    """Every element there is was told of."""

    count: int


@dataclass(frozen=True, slots=True)
class Awaiting:
    """What an element reported and an ADMIN has not admitted; all empty: nothing.

    Attributes:
        at: when that was reported last, or turned out to be reported no more.
    """

    store_id: str = ""
    endpoint: str = ""
    at: datetime = NEVER

    def __bool__(self) -> bool:
        return bool(self.store_id or self.endpoint)

    @property
    def what(self) -> tuple[str, str]:
        """Without the time."""
        return self.store_id, self.endpoint


@dataclass(frozen=True, slots=True)
class RegisteredElement:
    """The last admitted report of an element and what admin adds to it.

    Attributes:
        decided_priority: goes before the reported one; None while nobody has decided.
        client_id: the account that reports for it; empty if none may.
        is_admitted: its account is there and not suspended; else nothing is sent to it.
        awaiting: what it reported and what was not admitted.
        admissions: how often an ADMIN, or its first report, has said what store and host it has.
    """

    report: Report
    reported_at: datetime
    registered_at: datetime
    decided_priority: int | None = None
    client_id: str = ""
    awaiting: Awaiting = Awaiting()
    admissions: int = 0
    is_admitted: bool = True

    @property
    def endpoint(self) -> str:
        """host:port that it is called at; empty if nobody may call it.

        What was said of one that has not reported is no address to call.
        """
        return self.report.endpoint if self.has_joined and self.is_admitted else ""

    @property
    def has_joined(self) -> bool:
        """Whether it has reported, so that it may have files and an address."""
        return bool(self.report.store_id)

    @property
    def storage_element_id(self) -> str:
        """Its name."""
        return self.report.storage_element_id

    @property
    def priority(self) -> int:
        """Its place in Sequential Fill."""
        return self.report.priority if self.decided_priority is None else self.decided_priority

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of lists."""
        return self.priority, self.storage_element_id

    def is_healthy(self, now: datetime) -> bool:
        """Whether it is admitted and has reported within 15 s, not in the future."""
        return self.is_admitted and is_young(abs((now - self.reported_at).total_seconds()))

    def says_the_same(self, other: RegisteredElement) -> bool:
        """Whether nothing differs but the time of the report."""
        return self._said == other._said

    @property
    def _said(self) -> tuple[object, ...]:
        return (
            self.report,
            self.decided_priority,
            self.client_id,
            self.is_admitted,
            self.awaiting.what,
        )

"""The one table of how much a call may take, as `roles` beside it is that of who may make it.

`ARTSTORE_LIMITS` changes it: JSON of a method, `*` for all of them or `server`, to fields of
`MethodLimits` or `ServerLimits`. GetServerInfo and `--check-config` show what holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from mesh.contract import MAX_BATCH_FILE_IDS, MAX_CHUNK_BYTES
from mesh.identity.roles import WHO_MAY
from mesh.settings import SettingsError

KEY = "ARTSTORE_LIMITS"
ALL_METHODS = "*"
SERVER = "server"

KIB = 1024

_PLAIN_OR_GZIP = 0b101


@dataclass(frozen=True, slots=True)
class MethodLimits:
    """What one method takes.

    Attributes:
        request_bytes: of one message, as it is once it is unpacked.
        list_items: entries of one list in a message.
        batch_items: entries of a list that is a batch (`BATCHES`).
        calls: under way at a time; SERVICE and ADMIN are let in beyond.
        calls_per_caller: of these, for one account.
        calls_per_address: of these, for one address whose calls have no token.
        first_message_seconds: from the call's beginning to its first message.
        silence_seconds: that a stream of requests which is waited for may be silent.
        stuck_write_seconds: that a caller may let one message of a stream of answers lie.
    """

    request_bytes: int = 64 * KIB
    list_items: int = 100
    batch_items: int = MAX_BATCH_FILE_IDS
    calls: int = 4000
    calls_per_caller: int = 800
    calls_per_address: int = 1000
    first_message_seconds: float = 10.0
    # Servers end a silent upload at 300 s, and can tell how it is gone on with.
    silence_seconds: float = 360.0
    stuck_write_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server takes, whatever the method.

    Attributes:
        calls: of callers with a token, under way at a time; SERVICE and ADMIN are let in beyond.
        anonymous_calls: of those without.
        waiting_per_address: calls without a token whose first message has not come; of more, the
            one that waits longest ends.
        handshake_seconds: from a connection to its first call being possible.
        idle_seconds: that a connection without a call is kept.
        connections: open at a time.
        streams_per_connection: calls under way on one connection; further ones wait at the caller.
    """

    calls: int = 4000
    anonymous_calls: int = 2000
    waiting_per_address: int = 100
    handshake_seconds: float = 10.0
    idle_seconds: float = 300.0
    connections: int = 8192
    streams_per_connection: int = 2000


# Counted by its handler, which says INVALID_ARGUMENT.
COUNTED_ELSEWHERE = frozenset({"artstore.v1.BatchGetFilesRequest.file_ids"})
BATCHES = frozenset(
    {
        "artstore.v1.SearchFilesRequest.min_change_tokens",
        "artstore.v1.RecordRefusalsRequest.refusals",
        # Their bytes have a limit of their own, and the account's or file's fields a better error.
        "artstore.v1.UploadHeader.tags",
        "artstore.v1.UploadHeader.attributes",
        "artstore.v1.File.tags",
        "artstore.v1.File.attributes",
        "artstore.v1.CreateServiceAccountRequest.namespaces",
        "artstore.v1.CreateServiceAccountRequest.read_namespaces",
        "artstore.v1.ServiceAccount.namespaces",
        "artstore.v1.ServiceAccount.read_namespaces",
    }
)
"""Lists that hold as much as a batch, by the full name of their field."""

_CHUNK = MethodLimits(request_bytes=MAX_CHUNK_BYTES + 64 * KIB)
_BIG_ANSWERS = MethodLimits(calls_per_caller=256)
_LONG_WORK = MethodLimits(calls_per_caller=100)
_OTHER = MethodLimits()

_EXCEPTIONS: Mapping[str, MethodLimits] = {
    "/artstore.v1.StorageService/Upload": _CHUNK,
    "/artstore.v1.StorageService/WriteUpload": _CHUNK,
    "/artstore.v1.IngestService/Upload": _CHUNK,
    "/artstore.v1.IngestService/WriteUpload": _CHUNK,
    "/artstore.v1.TokenService/IssueToken": MethodLimits(request_bytes=4 * KIB),
    # 500 entries.
    "/artstore.v1.AuditService/RecordRefusals": MethodLimits(request_bytes=512 * KIB),
    # Beside its filters it names 1,000 changes.
    "/artstore.v1.QueryService/SearchFiles": MethodLimits(
        request_bytes=128 * KIB, calls_per_caller=256
    ),
    "/artstore.v1.StorageService/Download": _BIG_ANSWERS,
    "/artstore.v1.QueryService/DownloadFile": _BIG_ANSWERS,
    "/artstore.v1.StorageService/ListFiles": _BIG_ANSWERS,
    "/artstore.v1.StorageService/BatchGetFiles": _BIG_ANSWERS,
    "/artstore.v1.StorageService/WatchChanges": _LONG_WORK,
    "/artstore.v1.CacheService/CheckConsistency": _LONG_WORK,
    "/artstore.v1.CacheService/RebuildCache": _LONG_WORK,
    "/artstore.v1.CacheService/RebuildCacheIncremental": _LONG_WORK,
    "/artstore.v1.CacheService/CleanupExpired": _LONG_WORK,
    "/artstore.v1.FileRegistryService/CheckMesh": _LONG_WORK,
    "/artstore.v1.AuditService/VerifyAuditEvents": _LONG_WORK,
    "/artstore.v1.AuditService/ExportAuditEvents": _LONG_WORK,
}

_WITH_FILES = ("/artstore.v1.StorageService/", "/artstore.v1.IngestService/")

T = TypeVar("T", MethodLimits, ServerLimits)


class LimitTable:
    """The table as a server keeps to it.

    Args:
        changes: `ARTSTORE_LIMITS`; empty: the defaults.

    Raises:
        SettingsError: it says what makes no sense.
    """

    def __init__(self, changes: str = "") -> None:
        given = _read(changes)
        of_all = given.pop(ALL_METHODS, {})
        self.server = _changed(ServerLimits(), SERVER, given.pop(SERVER, {}))
        self.other = _changed(_OTHER, ALL_METHODS, of_all)
        self.methods: dict[str, MethodLimits] = {
            method: _changed(_EXCEPTIONS.get(method, _OTHER), ALL_METHODS, of_all)
            for method in WHO_MAY
        }
        for name, values in given.items():
            method = f"/{name.lstrip('/')}"
            if method not in self.methods:
                raise SettingsError(
                    f"{KEY}: {name!r} is no method: write package.Service/Method,"
                    f" {ALL_METHODS!r} or {SERVER!r}"
                )
            self.methods[method] = _changed(self.methods[method], name, values)

    def of(self, method: str) -> MethodLimits:
        """The limits of `method`, a path like `/artstore.v1.StorageService/Upload`."""
        return self.methods.get(method, self.other)

    @property
    def largest_request_bytes(self) -> int:
        """Of any method."""
        return max(limits.request_bytes for limits in self.methods.values())

    @property
    def largest_question_bytes(self) -> int:
        """The largest request of a method of those servers that take no bytes of files."""
        return max(
            limits.request_bytes
            for method, limits in self.methods.items()
            if not method.startswith(_WITH_FILES)
        )

    def shown(self) -> dict[str, dict[str, float]]:
        """The table in the form of `ARTSTORE_LIMITS`: of methods what they have of their own."""
        of_all = asdict(self.other)
        told = {SERVER: asdict(self.server), ALL_METHODS: of_all}
        for method, limits in self.methods.items():
            own = {key: value for key, value in asdict(limits).items() if value != of_all[key]}
            if own:
                told[method.lstrip("/")] = own
        return told


def transport_options(limits: ServerLimits) -> list[tuple[str, int]]:
    """Options of grpc for what it looks after itself, before there is a call.

    No connection has an age: it would cut streams that live for hours.
    """
    return [
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_seconds * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        # What is packed comes as it is, and is unpacked within its method's limit: grpc itself
        # would unpack it as far as the largest limit goes. Only gzip can be told from a message.
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", _PLAIN_OR_GZIP),
    ]


def _read(changes: str) -> dict[str, Any]:
    if not changes.strip():
        return {}
    try:
        given = json.loads(changes)
    except ValueError as exc:
        raise SettingsError(f"{KEY}: not JSON: {exc}") from None
    if not isinstance(given, dict):
        raise SettingsError(f"{KEY}: not an object of methods and their limits")
    return given


def _changed(limits: T, name: str, values: Any) -> T:
    if not isinstance(values, dict):
        raise SettingsError(f"{KEY}: {name!r} needs an object of limits")
    known = {field.name: type(getattr(limits, field.name)) for field in fields(limits)}
    for key, value in values.items():
        if key not in known:
            raise SettingsError(
                f"{KEY}: {name!r} has no limit {key!r}, only {', '.join(sorted(known))}"
            )
        whole = known[key] is int
        wanted = "a whole number" if whole else "a number"
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise SettingsError(f"{KEY}: {key} of {name!r} is {value!r}: not {wanted} above 0")
    return replace(limits, **values)

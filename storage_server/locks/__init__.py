"""Priority locks on the cache of one element: held in Valkey, fenced from PostgreSQL."""

from storage_server.locks.entry import LockEntry
from storage_server.locks.held import HeldLock
from storage_server.locks.kinds import LockKind
from storage_server.locks.lazy import LazyLocks
from storage_server.locks.locks import ElementLocks

__all__ = ["ElementLocks", "HeldLock", "LazyLocks", "LockEntry", "LockKind"]

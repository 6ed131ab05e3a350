"""What works on the cache of an element, and who gives way to whom."""

from __future__ import annotations

import enum


class LockKind(enum.IntEnum):
    """Lock kinds; the lower the number, the higher the priority."""

    MANUAL_REBUILD = 1
    MANUAL_CHECK = 2
    LAZY_REBUILD = 3
    BACKGROUND_CLEANUP = 4


FIELDS = {
    LockKind.MANUAL_REBUILD: "rebuild",
    LockKind.MANUAL_CHECK: "check",
    LockKind.LAZY_REBUILD: "lazy:",
    LockKind.BACKGROUND_CLEANUP: "cleanup",
}


def field_of(kind: LockKind, file_id: str = "") -> str:
    """The name of a lock on its element: rebuild, check, cleanup or lazy:{file_id}."""
    if (kind is LockKind.LAZY_REBUILD) != bool(file_id):
        raise ValueError(f"{kind.name} {'needs a' if not file_id else 'takes no'} file_id")
    return FIELDS[kind] + file_id


def conflict(one: LockKind, one_file: str, other: LockKind, other_file: str) -> bool:
    """Whether two locks of one element exclude each other.

    A rebuild conflicts with everything, check and cleanup with themselves and each other,
    a lazy refresh with one of the same file. This is the model: the server decides in Lua
    (`locks/scripts.py`), which `tests/integration/cache/test_lock_rules.py` holds to it.
    """
    if LockKind.MANUAL_REBUILD in (one, other):
        return True
    if LockKind.LAZY_REBUILD in (one, other):
        return one is other and one_file == other_file
    return True


def takes_over(newcomer: LockKind, holder: LockKind) -> bool:
    """Whether a newcomer takes a conflicting lock from its holder; an equal one refuses.

    The model of what Lua decides, as `conflict`.
    """
    return newcomer < holder

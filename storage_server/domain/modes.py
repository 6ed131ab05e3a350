"""The modes of a storage element: what each allows, and which way it may go.

mode  create  bytes  metadata  update  delete  next
edit  yes     yes    yes       yes     yes     -
rw    yes     yes    yes       yes     no      ro
ro    no      yes    yes       no      no      ar; rw with confirm
ar    no      no     yes       no      no      -
"""

from __future__ import annotations

from enum import StrEnum

from mesh.errors import FailedPrecondition


class Mode(StrEnum):
    """The mode as it is written in `element.json`."""

    EDIT = "edit"
    RW = "rw"
    RO = "ro"
    AR = "ar"


class Action(StrEnum):
    """What a call wants to do with an element's files."""

    CREATE = "create"
    READ = "read"
    READ_METADATA = "read metadata"
    UPDATE = "update"
    DELETE = "delete"


_READS = frozenset({Action.READ, Action.READ_METADATA})
_ALLOWED: dict[Mode, frozenset[Action]] = {
    Mode.EDIT: frozenset(Action),
    Mode.RW: frozenset(Action) - {Action.DELETE},
    Mode.RO: _READS,
    Mode.AR: frozenset({Action.READ_METADATA}),
}
_NEXT: dict[Mode, frozenset[Mode]] = {
    Mode.EDIT: frozenset(),
    Mode.RW: frozenset({Mode.RO}),
    Mode.RO: frozenset({Mode.AR}),
    Mode.AR: frozenset(),
}
_NEXT_IF_CONFIRMED: dict[Mode, frozenset[Mode]] = {Mode.RO: frozenset({Mode.RW})}
_ELSEWHERE = "; an ADMIN moves one to an element in mode edit: `artstore move ID --to se-NN`"
_CACHE_TTL_HOURS = {Mode.EDIT: 24, Mode.RW: 24, Mode.RO: 168, Mode.AR: 168}


def allows(mode: Mode, action: Action) -> bool:
    """Whether an element in `mode` serves `action`. Undelete counts as delete."""
    return action in _ALLOWED[mode]


def require(mode: Mode, action: Action) -> None:
    """Raise FailedPrecondition, naming the mode, unless it allows `action`."""
    if not allows(mode, action):
        elsewhere = "" if action is Action.CREATE else _ELSEWHERE
        raise FailedPrecondition(
            f"the storage element is in mode {mode.value}, which does not allow to "
            f"{action.value} files{elsewhere}",
            reason="MODE",
            metadata={"mode": mode.value, "operation": action.value},
        )


def check_transition(current: Mode, target: Mode, *, confirm: bool) -> None:
    """Raise FailedPrecondition unless `current` may become `target`. Staying is allowed.

    Args:
        confirm: the caller's word for the one way back, from ro to rw.
    """
    if target is current or target in _NEXT[current]:
        return
    if target in _NEXT_IF_CONFIRMED.get(current, frozenset()):
        if confirm:
            return
        raise FailedPrecondition(
            f"mode {current.value} becomes {target.value} only with confirm set",
            reason="CONFIRM_REQUIRED",
        )
    onward = ", ".join(sorted(_NEXT[current])) or "no other mode"
    raise FailedPrecondition(
        f"mode {current.value} cannot become {target.value}; it may become {onward}",
        reason="MODE_TRANSITION",
        metadata={"mode": current.value},
    )


def default_cache_ttl_hours(mode: Mode) -> int:
    """How long a cache row counts as verified when the settings do not say, in hours."""
    return _CACHE_TTL_HOURS[mode]

"""Who excludes whom, and who gives way: the table of the contract."""

from __future__ import annotations

import itertools

import pytest

from storage_server.locks.kinds import LockKind, conflict, field_of, takes_over

REBUILD, CHECK = LockKind.MANUAL_REBUILD, LockKind.MANUAL_CHECK
LAZY, CLEANUP = LockKind.LAZY_REBUILD, LockKind.BACKGROUND_CLEANUP


def test_a_rebuild_excludes_everything() -> None:
    for kind in LockKind:
        assert conflict(REBUILD, "", kind, "f" if kind is LAZY else "")


def test_check_and_cleanup_exclude_themselves_and_each_other() -> None:
    for one, other in itertools.product((CHECK, CLEANUP), repeat=2):
        assert conflict(one, "", other, "")


def test_a_lazy_refresh_excludes_only_another_of_its_file() -> None:
    assert conflict(LAZY, "f", LAZY, "f")
    assert not conflict(LAZY, "f", LAZY, "g")
    for kind in (CHECK, CLEANUP):
        assert not conflict(LAZY, "f", kind, "")


def test_conflicts_are_mutual() -> None:
    for one, other in itertools.product(LockKind, repeat=2):
        for files in (("f", "f"), ("f", "g")):
            assert conflict(one, files[0], other, files[1]) == conflict(
                other, files[1], one, files[0]
            )


def test_only_a_higher_kind_takes_over() -> None:
    assert takes_over(REBUILD, CHECK)
    assert takes_over(CHECK, CLEANUP)
    assert not takes_over(CLEANUP, CHECK)
    for kind in LockKind:
        assert not takes_over(kind, kind)


def test_a_lazy_lock_needs_a_file_and_the_others_take_none() -> None:
    assert field_of(LAZY, "f") == "lazy:f"
    assert field_of(REBUILD) == "rebuild"
    with pytest.raises(ValueError, match="needs a file_id"):
        field_of(LAZY)
    with pytest.raises(ValueError, match="takes no file_id"):
        field_of(CHECK, "f")

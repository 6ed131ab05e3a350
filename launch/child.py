"""Start one program as a child that dies with its parent, as another user if asked.

Run as a script (`python -I child.py PARENT_PID SIGNAL USER -- PROGRAM ARGS...`), so that the
launcher itself never runs Python between fork and exec. SIGNAL is sent to the program when the
parent dies (Linux). USER is `-` for "as I am".

PostgreSQL refuses to run as root. Run as root, it is therefore started as a user of its own that
keeps root's right to pass through folders (CAP_DAC_OVERRIDE): neither the data folder's parents
nor the installed files need other permissions than they have.

access(2) asks what the *real* user may, and PostgreSQL looks for its own programs with it: the
kernel leaves the right out of that answer unless the change of user was made without its usual
fix-up of capabilities (securebit NO_SETUID_FIXUP).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_GET_SECUREBITS = 27
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _keep_dac_override(libc: ctypes.CDLL) -> None:
    """Without the right, a folder that others may not enter makes the program fail by itself."""
    mask = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, data) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _become(user: str, libc: ctypes.CDLL | None) -> None:
    entry = pwd.getpwnam(user)
    if libc is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Refused where root has no CAP_SETPCAP; then only folders that all may enter will do.
        bits = libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0)
        libc.prctl(_PR_SET_SECUREBITS, bits | _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    if libc is not None:
        _keep_dac_override(libc)
    os.environ["HOME"] = "/"


def main(arguments: list[str]) -> None:
    """Replace this process by the program; returns only by an exception."""
    parent, death_signal, user, _, *command = arguments
    libc = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            libc = ctypes.CDLL(None, use_errno=True)
    if user != "-":
        _become(user, libc)
    if libc is not None:
        # A change of user clears the death signal, so it is set after it.
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the launcher died meanwhile")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

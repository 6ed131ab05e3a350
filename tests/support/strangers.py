"""Other accounts of this machine: what they may do is done by a process of theirs."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STRANGER = 4711
"""Number of an account that nobody has."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")


def as_stranger(work: Callable[[], object]) -> None:
    """Do `work` in a process of the stranger; what fails there fails here.

    It must start no threads and touch no gRPC: it runs in a fork.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder like /tmp: everybody may write to it, and only remove what is theirs."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    try:
        folder.chmod(0o1777)
        yield folder
    finally:
        shutil.rmtree(folder)

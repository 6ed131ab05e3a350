"""How many files and connections this process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one, and answer what it is then.

    The soft one is 1,024 on many machines, for the sake of programs that use select(). Each caller
    has a connection of his own here, and an upload in progress a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems refuse a hard limit that they say is unlimited.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

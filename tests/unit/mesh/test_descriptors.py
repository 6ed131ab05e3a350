"""The limit of open descriptors is what the system allows, whatever the shell has."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from mesh.server.descriptors import raise_descriptor_limit
hard = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
assert raise_descriptor_limit() == hard
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=20)

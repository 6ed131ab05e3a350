"""Servers as processes of a test, forked from one that has imported everything.

A start takes a quarter of the time that `python -m` takes, and what comes of it is the same
(`launch/forked.py`). Tests of the command line itself start that instead.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from functools import cache

import psutil

from launch.forked import ForkServer, ForkServerGone
from tests.support.services import clean_environment


def start(module: str, environment: Mapping[str, str]) -> psutil.Process:
    """Start `python -m module` in this working folder, with the standard error of the test."""
    try:
        return psutil.Process(_fork_server().fork(module, environment, 2))
    except ForkServerGone:
        return psutil.Popen([sys.executable, "-m", module], env=dict(environment))


@cache
def _fork_server() -> ForkServer:
    paths = {"PYTHONPATH": os.pathsep.join(["gen", "."])}
    server = ForkServer(
        ["storage_server.app", "mesh.postgres.revisions"], clean_environment() | paths
    )
    server.open()
    atexit.register(server.close)
    return server

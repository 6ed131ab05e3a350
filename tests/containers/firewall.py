"""What a Docker Engine changes of the network of its machine, and how that is taken back."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BRIDGE = Path("/sys/class/net/docker0")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
SECONDS = 20.0
PROGRAMS = ("iptables", "ip6tables")
TABLES = ("filter", "nat")
# Its chains, and rules about its bridges.
_OF_AN_ENGINE = re.compile(r"\b(DOCKER|docker0\b|br-[0-9a-f]{12}\b)")
_FORWARD = re.compile(r"^:FORWARD \w+", re.MULTILINE)


@contextmanager
def network_as_before() -> Iterator[None]:
    """Take away at the end what an engine of the block leaves.

    That is the bridge, the chains and rules, the policy DROP of what is forwarded, and forwarding
    itself. What another engine left before stays, and so do rules that others made meanwhile.
    """
    had_bridge, forwarding = BRIDGE.exists(), FORWARDING.read_text()
    before = {(program, table): saved(program, table) for program in PROGRAMS for table in TABLES}
    try:
        yield
    finally:
        if BRIDGE.exists() and not had_bridge and shutil.which("ip"):
            _call(["ip", "link", "delete", "docker0"])
        clean = [place for place, rules in before.items() if not _OF_AN_ENGINE.search(rules)]
        for program, table in clean:
            after = saved(program, table)
            wanted = without_engine(after, before[program, table])
            if wanted != after:
                _call([_path(f"{program}-restore"), "--table", table], wanted)
        if len(clean) == len(before):
            FORWARDING.write_text(forwarding)


def without_engine(rules: str, before: str) -> str:
    """Rules of a table without those of an engine, and forwarding what was forwarded before."""
    kept = [line for line in rules.splitlines(keepends=True) if not _OF_AN_ENGINE.search(line)]
    policy = _FORWARD.search(before)
    return _FORWARD.sub(policy[0] if policy else ":FORWARD ACCEPT", "".join(kept))


def saved(program: str, table: str) -> str:
    """The rules of a table, empty where the program or the table is not there."""
    found = _path(f"{program}-save")
    return _call([found, "--table", table]).stdout if found else ""


def _path(program: str) -> str:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin") or ""


def _call(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False
    )

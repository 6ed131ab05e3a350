"""Removing what tests leave in a Docker Engine, whatever ended them."""

from __future__ import annotations

from tests.containers.composed import LABEL, UP_SECONDS, docker

# What is removed, in this order: how it is listed, and removed.
_SWEPT = (
    (("container", "ls", "-a", f'--format={{{{.Names}}}} {{{{.Label "{LABEL}"}}}}'),
     ("container", "rm", "--force", "--volumes")),
    (("network", "ls", "--format={{.Name}}"), ("network", "rm")),
    (("volume", "ls", "--format={{.Name}}"), ("volume", "rm", "--force")),
    (("image", "ls", "--format={{.Repository}}:{{.Tag}}"), ("image", "rm", "--force")),
)  # fmt: skip


def sweep(prefix: str) -> str:
    """Remove the containers, networks, volumes and images whose names or labels begin so.

    Returns:
        What could not be removed and why, a line each.
    """
    problems = []
    for list_all, remove in _SWEPT:
        lines = docker(*list_all).stdout.decode().splitlines()
        found = [line.split() for line in lines if line.strip()]
        names = [one[0] for one in found if any(word.startswith(prefix) for word in one)]
        if names:
            done = docker(*remove, *names, check=False, seconds=UP_SECONDS)
            problems.append(done.stderr.decode(errors="replace") if done.returncode else "")
    return "".join(problems)

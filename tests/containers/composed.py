"""The mesh of compose.yaml as a test has it: started, looked into, hurt, removed.

Each has a project name, a network and a published address of its own, so that several run side by
side, and beside a mesh of `make run`.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from launch import topology
from tests.support.mesh import REPOSITORY, MeshFile, is_free
from tests.support.services import clean_environment

UP_SECONDS = 300.0
# Those of compose.several.yaml too.
PUBLISHED_PORTS = (*(plan.port for plan in topology.SERVERS), 8001, 8021, 8031)
COMMAND_SECONDS = 120.0
DEFAULT_CORES = 2
"""ARTSTORE_CPUS where it is not set."""
RUN = os.environ.get("ARTSTORE_TEST_RUN") or secrets.token_hex(3)
PROJECTS = f"artstore-test-{RUN}"
"""How the names of all projects of this test run begin."""
LABEL = "artstore.test"
OF_THIS_RUN = f"--label={LABEL}={PROJECTS}"
"""What `docker run` and `docker create` are told, so that the end of the run removes it."""
IMAGE = f"{PROJECTS}:0.1.0"
"""The servers' image under test; a user's `artstore:0.1.0` stays what it is."""


class DockerFailed(AssertionError):
    """A command of docker ended with another code than 0; the message has what it printed."""


def docker(
    *arguments: str, seconds: float = COMMAND_SECONDS, check: bool = True, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run `docker` with these arguments."""
    return run(["docker", *arguments], seconds=seconds, check=check, stdin=stdin)


def run(
    command: Sequence[str],
    *,
    seconds: float = COMMAND_SECONDS,
    check: bool = True,
    stdin: bytes = b"",
    cwd: Path = REPOSITORY,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, without any ArtStore setting of this process."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment() | dict(environment or {}),
        input=stdin,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    if check and done.returncode != 0:
        shown = (done.stdout + done.stderr).decode(errors="replace")
        raise DockerFailed(f"{' '.join(command)} ended with {done.returncode}:\n{shown}")
    return done


@dataclass(frozen=True, slots=True)
class Address:
    """What a mesh has for itself on this host: numbers that no other uses.

    Attributes:
        network: the first three numbers of its network, ARTSTORE_NETWORK.
        published: where its ports are published, ARTSTORE_PUBLISH_ADDRESS.
    """

    network: str
    published: str

    @classmethod
    def free(cls) -> Address:
        """One that nobody on this host had a moment ago."""
        routed = _routed()
        taken: set[int] = set()
        for number in random.sample(range(100, 250), 150):
            network, published = f"10.213.{number}", f"127.0.213.{number}"
            if network in routed:
                continue
            busy = [port for port in PUBLISHED_PORTS if not is_free(port, published)]
            if not busy:
                return cls(network, published)
            taken |= set(busy)
        if taken:
            raise RuntimeError(f"something listens at all addresses of this host: {sorted(taken)}")
        raise RuntimeError("no free network below 10.213.0.0/16")


def _routed() -> set[str]:
    """The first three numbers of each network that this host has a route to."""
    lines = Path("/proc/net/route").read_text().splitlines()[1:]
    # Hexadecimal, the last number first.
    told = [bytes.fromhex(line.split()[1])[::-1] for line in lines]
    return {".".join(str(number) for number in address[:3]) for address in told}


def wait_healthy(containers: Sequence[str], seconds: float) -> None:
    """Wait until all of them are, by their ids. One look at all costs as much as at one.

    Raises:
        TimeoutError: they are not so soon; the message says which.
    """
    deadline = time.monotonic() + seconds
    while unhealthy := _unhealthy(containers):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not healthy after {seconds} s: {unhealthy}")
        # Each look is a process; the machine has other work.
        time.sleep(0.5)


def _unhealthy(containers: Sequence[str]) -> list[str]:
    shown = "--format={{.Name}} {{.State.Health.Status}}"
    lines = docker("inspect", shown, *containers).stdout.decode().splitlines()
    return [line for line in lines if not line.endswith(" healthy")]


class ComposedMesh:
    """One project of docker compose, in a folder that is as a checkout.

    Args:
        folder: where compose.yaml and .env are; made by `checkout`.
        address: of this mesh.
    """

    def __init__(self, folder: Path, address: Address) -> None:
        self.folder = folder
        self.address = address
        self.first_lines = ""

    @cached_property
    def settings(self) -> dict[str, str]:
        """What stands in .env, references resolved as a shell would."""
        shown = run(
            ["sh", "-c", "set -a; . ./.env; env -0"], cwd=self.folder, environment={"PATH": "/bin"}
        )
        pairs = (line.partition("=") for line in shown.stdout.decode().split("\0") if line)
        return {name: value for name, _, value in pairs if name.startswith(("ARTSTORE_", "COMP"))}

    @property
    def project(self) -> str:
        """Its name, with which all its containers, volumes and networks begin."""
        return self.settings["COMPOSE_PROJECT_NAME"]

    def compose(
        self,
        *arguments: str,
        seconds: float = COMMAND_SECONDS,
        check: bool = True,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `docker compose` with these arguments in its folder."""
        return run(
            ["docker", "compose", *arguments],
            cwd=self.folder,
            seconds=seconds,
            check=check,
            stdin=stdin,
            environment=environment,
        )

    def up(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """`docker compose up --wait`: everything runs and is healthy afterwards."""
        try:
            self.compose("up", "--wait", *arguments, seconds=UP_SECONDS, environment=environment)
        except DockerFailed as failed:
            raise DockerFailed(f"{failed}\n{self.state()}") from failed

    def down(self, *arguments: str) -> None:
        """`docker compose down`: containers and network are gone, volumes stay."""
        self.compose("down", "--remove-orphans", *arguments, seconds=UP_SECONDS)

    def move(self, address: Address) -> None:
        """Give it other addresses; it must be down."""
        env = self.folder / ".env"
        text = env.read_text().replace(self.address.network, address.network)
        env.write_text(text.replace(self.address.published, address.published))
        self.address = address
        del self.settings

    def state(self) -> str:
        """What runs, and the last lines that each container wrote."""
        shown = self.compose("ps", "-a", check=False).stdout
        shown += self.compose("logs", "--tail", "5", "--no-color", check=False).stdout
        return shown.decode(errors="replace")

    def services(self) -> list[str]:
        """Names of all services but those of profiles."""
        return sorted(self.compose("config", "--services").stdout.decode().split())

    def container(self, service: str) -> str:
        """The id of its container, also of one that does not run."""
        label = "label=com.docker.compose"
        filters = (f"{label}.project={self.project}", f"{label}.service={service}")
        wanted = (f"--filter={one}" for one in (*filters, f"{label}.oneoff=False"))
        return docker("ps", "-aq", "--no-trunc", *wanted).stdout.decode().strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine says of a container."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)).stdout)
        return found[0]

    def started_at(self, service: str) -> str:
        """When the engine started its container the last time."""
        return str(self.inspect(service)["State"]["StartedAt"])

    def process(self, service: str) -> psutil.Process:
        """The first process of a container that runs, for a test to kill.

        Raises:
            AssertionError: the number that the engine tells is another machine's, such as that of
                Docker Desktop: here it may be anybody's.
        """
        state = self.inspect(service)
        pid = state["State"]["Pid"]
        groups = Path(f"/proc/{pid}/cgroup")
        told = groups.read_text() if groups.exists() else ""
        assert state["Id"] in told, f"{service} is no process of this machine: {pid}"
        return psutil.Process(pid)

    def environment(self, service: str) -> dict[str, str]:
        """The variables that a container was given."""
        pairs = (one.partition("=") for one in self.inspect(service)["Config"]["Env"])
        return {name: value for name, _, value in pairs}

    def given_address(self, service: str) -> str:
        """The address that a container has on the network now."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        return str(networks[f"{self.project}_mesh"]["IPAddress"])

    def log(self, service: str) -> str:
        """All that a container wrote."""
        shown = self.compose("logs", "--no-color", "--no-log-prefix", service)
        return shown.stdout.decode(errors="replace")

    def execute(
        self, service: str, *command: str, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a container that runs."""
        return self.compose("exec", "-T", service, *command, check=check)

    def wait_healthy(self, *services: str, seconds: float = 60.0) -> None:
        """Wait until containers that were not started by `up` are healthy, by default all."""
        names = services or self.services()
        wait_healthy([self.container(name) for name in names], seconds)

    def remove_volumes(self, *names: str) -> None:
        """Lose volumes; those who have them must be gone."""
        docker("volume", "rm", *(f"{self.project}_{name}" for name in names))

    @property
    def file(self) -> MeshFile:
        """What mesh.json would say: how a client on this host reaches it."""
        return MeshFile(
            endpoints={
                **{
                    name: self.settings[f"ARTSTORE_{name.upper()}_ENDPOINT"]
                    for name in ("admin", "ingest", "query")
                },
                "storage": self.published_elements,
            },
            client_id=self.settings["ARTSTORE_CLIENT_ID"],
            client_secret=self.settings["ARTSTORE_CLIENT_SECRET"],
            database_url="",
            redis_url="",
            data_dir=self.folder,
            processes={},
        )

    @property
    def published_elements(self) -> dict[str, str]:
        """host:port of each element as it is published."""
        return {
            plan.element_id: f"{self.address.published}:{plan.port}" for plan in topology.ELEMENTS
        }

    @property
    def own_elements(self) -> dict[str, str]:
        """host:port of each element at its address on the network."""
        return {
            plan.element_id: f"{self.address.network}.{10 + int(plan.number)}:{plan.port}"
            for plan in topology.ELEMENTS
        }

    def on_host(
        self, *arguments: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `artstore` on this host, with what stands in .env."""
        return run(
            [str(Path(sys.executable).with_name("artstore")), *arguments],
            cwd=self.folder,
            stdin=stdin,
            check=check,
            environment=self.settings | {"XDG_CACHE_HOME": str(self.folder / "cache")},
        )

    def in_container(
        self, *arguments: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `artstore` in a container of its own on the network."""
        return self.compose("run", "--rm", "-T", "artstore", *arguments, stdin=stdin, check=check)


def checkout(folder: Path, address: Address, name: str, **variables: str) -> ComposedMesh:
    """Copy what a checkout has for containers, and name a mesh in its compose.env.example.

    `make .env` there makes its .env.

    Args:
        name: of the mesh among those of this test run.
        variables: more lines of .env.
    """
    ignored = (REPOSITORY / ".dockerignore").read_text()
    sent = [line[1:] for line in ignored.splitlines() if line.startswith("!")]
    for entry in [*sent, ".dockerignore", "Dockerfile", "Makefile", "compose.yaml"]:
        source, target = REPOSITORY / entry, folder / entry
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
    example = (REPOSITORY / "compose.env.example").read_text()
    cores = int(docker("info", "--format={{.NCPU}}").stdout)
    own = {
        # An engine refuses more than it has.
        **({"ARTSTORE_CPUS": str(cores)} if cores < DEFAULT_CORES else {}),
        "COMPOSE_PROJECT_NAME": f"{PROJECTS}-{name}",
        "ARTSTORE_IMAGE": IMAGE,
        **variables,
    }
    for key, value in (
        ("ARTSTORE_NETWORK", address.network),
        ("ARTSTORE_PUBLISH_ADDRESS", address.published),
    ):
        example = re.sub(rf"^#?{key}=.*$", f"{key}={value}", example, flags=re.MULTILINE)
    example += "".join(f"{key}={value}\n" for key, value in own.items())
    (folder / "compose.env.example").write_text(example)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return ComposedMesh(folder, address)

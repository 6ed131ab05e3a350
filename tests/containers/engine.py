"""The Docker Engine of `make test-compose`: the one that answers, else one of its own.

What is missing is installed where it may be: as root on Debian, from its packages. An engine of our
own keeps images and what was built in the cache folder, and everything else in a folder below /tmp
that goes with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from launch import processes
from tests.containers.firewall import network_as_before

START_SECONDS = 60.0
# PostgreSQL alone may take a minute.
STOP_SECONDS = 90.0
# Of a busy machine.
ANSWER_SECONDS = 60.0
KEPT_BUILDS = "5gb"
COMPOSE_AT_LEAST = (2, 24)
# Debian 12 has docker-compose 1.29; the packages of Debian 13 hold static programs.
PLUGINS = ("docker-compose", "docker-buildx")
PLUGIN_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    " http://deb.debian.org/debian trixie main\n"
)
OWN_ENGINE = "ARTSTORE_TEST_ENGINE"
"""The variable that tells tests the folder of an engine that is ours to kill."""


class CannotRun(Exception):
    """The containers can't be run here; the message says why, and what to do."""


def cache_folder() -> Path:
    """The folder of what is kept from run to run, made if it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base, "artstore", "containers")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def answers(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether an engine answers the command `docker`."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return _call(command, environment, seconds=ANSWER_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def require_local() -> None:
    """Refuse an engine on another machine: tests reach containers at addresses of this one.

    Raises:
        CannotRun: the one that `docker` is told to take is not here.
    """
    told = _call(["docker", "context", "inspect", "--format={{.Endpoints.docker.Host}}"], {},
                 seconds=20)  # fmt: skip
    place = told.stdout.strip()
    if told.returncode == 0 and not place.startswith("unix://"):
        raise CannotRun(
            f"the Docker Engine is at {place}, and its containers with it: unset"
            " DOCKER_HOST, or docker context use default"
        )


def _require_no_other() -> None:
    """Two engines in one network namespace write the same chains and share `docker0`."""
    ours = Path("/proc/self/ns/net").readlink()
    for process in psutil.process_iter(["name"]):
        with suppress(OSError):
            theirs = Path(f"/proc/{process.pid}/ns/net").readlink()
            if process.info["name"] == "dockerd" and theirs == ours:
                raise CannotRun(
                    f"a Docker Engine runs here (process {process.pid}) and does not answer: wait"
                    " for it, name it in DOCKER_HOST, or end it"
                )


def install(programs: Mapping[str, str]) -> list[str]:
    """Install the packages of programs that are missing; return them.

    Args:
        programs: package by the program that is needed of it.

    Raises:
        CannotRun: something is missing that can't be installed.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacking = [name for program, name in programs.items() if not shutil.which(program, path=path)]
    missing = list(dict.fromkeys(lacking))
    if not missing:
        return []
    wanted = " ".join(missing)
    _must_be_root_of_debian(f"install {wanted}")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        for command in (
            ["apt-get", "-qq", "update"],
            ["apt-get", "-qq", "install", "--no-install-recommends", "-y", *missing],
        ):
            done = _call(command, environment, seconds=600)
            if done.returncode != 0:
                raise CannotRun(f"{' '.join(command)} failed: {_last_line(done.stderr)}")
    return missing


def _must_be_root_of_debian(task: str) -> None:
    if os.geteuid() != 0:
        raise CannotRun(f"only root can {task}: do that, or start a Docker Engine, and try again")
    if shutil.which("apt-get") is None:
        raise CannotRun(f"{task} and try again: without apt-get it can't be done here")


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep the package of the engine from starting one that nobody would stop."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink()


def docker_config(cache: Path) -> Path | None:
    """The DOCKER_CONFIG that has a Docker Compose young enough; None: the usual one has.

    Raises:
        CannotRun: it can't be had.
    """
    if _compose_version({}) >= COMPOSE_AT_LEAST:
        return None
    config = cache / "docker-config"
    told = {"DOCKER_CONFIG": str(config)}
    if _compose_version(told) < COMPOSE_AT_LEAST:
        wanted = ".".join(map(str, COMPOSE_AT_LEAST))
        _must_be_root_of_debian(f"install Docker Compose {wanted} or newer")
        _download_plugins(config / "cli-plugins")
        if _compose_version(told) < COMPOSE_AT_LEAST:
            raise CannotRun(
                f"`docker compose` of Debian 13 does not run: install {wanted} or newer"
            )
    # What else `docker` keeps for its user, such as accounts of registries.
    usual = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
    if usual.exists() and not (config / "config.json").exists():
        (config / "config.json").symlink_to(usual)
    return config


def _compose_version(environment: Mapping[str, str]) -> tuple[int, ...]:
    done = _call(["docker", "compose", "version", "--short"], environment, seconds=20)
    found = re.match(r"v?(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if done.returncode == 0 and found else (0,)


def _download_plugins(folder: Path) -> None:
    """Take the programs from Debian's packages, which apt checks by Debian's signature."""
    with tempfile.TemporaryDirectory(prefix="artstore-apt-") as made:
        place = Path(made)
        (place / "state/lists/partial").mkdir(parents=True)
        (place / "cache/archives/partial").mkdir(parents=True)
        (place / "sources.list").write_text(PLUGIN_SOURCE)
        options = {
            "Dir::State": place / "state",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": place / "cache",
            "Dir::Etc::SourceList": place / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
        for command in ([*apt, "update"], [*apt, "download", *PLUGINS]):
            done = _call(command, {}, seconds=300, cwd=place)
            if done.returncode != 0:
                raise CannotRun(
                    f"{' '.join(PLUGINS)} can't be had from Debian 13: {_last_line(done.stderr)}"
                )
        for package in place.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, place / "root"], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place / "root/usr/libexec/docker/cli-plugins", folder)


class OwnEngine:
    """A `dockerd` in a folder of its own, which also those may kill and start who only know that.

    Args:
        folder: of its socket and its process, below /tmp.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def host(self) -> str:
        """Its DOCKER_HOST."""
        return f"unix://{self.folder}/docker.sock"

    def prepare(self, data: Path) -> None:
        """Say how it is started; `data` keeps images, volumes and what was built."""
        dockerd = shutil.which("dockerd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        command = [
            str(dockerd), f"--host={self.host}", f"--data-root={data}",
            f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/docker.pid",
        ]  # fmt: skip
        (self.folder / "command.json").write_text(json.dumps(command))

    def start(self, *, outlives_us: bool = False) -> None:
        """Start it, and wait until it answers.

        Args:
            outlives_us: it does not end when the calling process does.

        Raises:
            CannotRun: it does not start; the message has its last words.
        """
        command = json.loads((self.folder / "command.json").read_text())
        # Of one that was killed: its number is taken until whoever began it looks after it.
        (self.folder / "docker.pid").unlink(missing_ok=True)
        log = self.folder / "dockerd.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command if outlives_us else processes.wrapped(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not answers({"DOCKER_HOST": self.host}):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said = re.sub(r'^time="\S+" ', "", _last_line(log.read_text(errors="replace")))
                raise CannotRun(f"a Docker Engine does not start here: {said}")
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """The engine and the containerd that it started; not the containers."""
        pid = int((self.folder / "docker.pid").read_text())
        engine = psutil.Process(pid)
        return [engine, *engine.children()]

    def _left(self) -> list[psutil.Process]:
        """What a killed engine leaves: the next one would start the same containers beside it."""
        keepers = [
            process
            for process in psutil.process_iter(["name", "cmdline"])
            if str(process.info["name"]).startswith("containerd")
            and any(word.startswith(f"{self.folder}/") for word in process.info["cmdline"] or ())
        ]
        found = list(keepers)
        for keeper in keepers:
            with suppress(psutil.NoSuchProcess):
                found += keeper.children(recursive=True)
        return found

    def stop(self) -> None:
        """End it with all its containers, and remove its folder."""
        # No file, or an empty one, where it was killed as it started.
        with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            found = self.processes()
            found[0].terminate()
            _, alive = psutil.wait_procs(found, STOP_SECONDS)
            for process in alive:
                process.kill()
        left = self._left()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, STOP_SECONDS)
        # Namespaces of containers, which it leaves mounted; and its data, if it was killed.
        command = json.loads((self.folder / "command.json").read_text())
        ours = [self.folder, *(Path(one[12:]) for one in command if one.startswith("--data-root="))]
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            place = line.split()[1]
            if any(Path(place).is_relative_to(folder) for folder in ours):
                _call(["umount", "--lazy", place], {}, seconds=10)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def own_engine(cache: Path) -> Iterator[OwnEngine]:
    """An engine for the block.

    Raises:
        CannotRun: it does not start, or another run has one.
    """
    if os.geteuid() != 0:
        raise CannotRun("no Docker Engine answers, and only root can start one: start it")
    _require_no_other()
    with (cache / "lock").open("w") as lock, network_as_before():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun("another `make test-compose` runs here: let it end first") from None
        engine = OwnEngine(Path(tempfile.mkdtemp(prefix="artstore-docker-")))
        try:
            engine.prepare(cache / "docker")
            engine.start()
            yield engine
        finally:
            engine.stop()


def prune_builds() -> None:
    """Keep what was built within bounds: each change of the code leaves layers and an image."""
    for command in (
        ["docker", "image", "prune", "--force"],
        ["docker", "builder", "prune", "--force", f"--keep-storage={KEPT_BUILDS}"],
    ):
        with suppress(subprocess.TimeoutExpired):
            _call(command, {}, seconds=STOP_SECONDS)


@contextmanager
def terminated_by_exception() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what was begun is also ended."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _call(
    command: list[str],
    environment: Mapping[str, str] | None,
    *,
    seconds: float,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=os.environ | dict(environment or {}),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"

"""The servers' image: what is in it, what may be done in it, and when it counts as healthy."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from launch import topology
from tests.containers.composed import OF_THIS_RUN, PROJECTS, docker, run
from tests.support.certificates import Authority
from tests.support.locks import VERSION, locked
from tests.support.mesh import REPOSITORY
from tests.support.waiting import wait_until

BUILD_SECONDS = 500.0
LARGEST_BYTES = 250_000_000
# What BuildKit makes of WORKDIR.
EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
READ_ONLY = ("--read-only", "--tmpfs", "/tmp")

# A server of the mesh that needs no other; USR1: not serving, USR2: its event loop is held up.
PROGRAM = """
import asyncio, signal, time
from mesh.server.server import MeshServer
from mesh.settings import MeshSettings, load
from mesh.identity.tokens import KeySet, TokenVerifier

async def main():
    server = MeshServer(load(MeshSettings), TokenVerifier(KeySet()))
    await server.start()
    loop = asyncio.get_running_loop()
    drain = lambda: loop.create_task(server.set_serving("", False))
    loop.add_signal_handler(signal.SIGUSR1, drain)
    loop.add_signal_handler(signal.SIGUSR2, time.sleep, 600)
    await asyncio.Event().wait()

asyncio.run(main())
"""
# Prints name, version and requirements of each installed package.
PACKAGES = """
import json
from importlib.metadata import distributions
print(json.dumps([(one.name, one.version, one.requires or []) for one in distributions()]))
"""
# Prints the seconds of processor time that one check takes.
COST = """
import resource, subprocess
for _ in range(20):
    subprocess.run(["artstore-healthy"], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print((used.ru_utime + used.ru_stime) / 20)
"""


@pytest.fixture(scope="module")
def image(engine: str) -> str:
    """The image of this checkout."""
    return built("image")


def built(name: str, *options: str, buildkit: str = "1") -> str:
    """Build this checkout; the name is removed with all others of this run."""
    tag = f"{PROJECTS}-{name}:{VERSION}"
    command = ["docker", "build", *options, "--tag", tag, str(REPOSITORY)]
    run(command, seconds=BUILD_SECONDS, environment={"DOCKER_BUILDKIT": buildkit})
    return tag


def run_in(image: str, *command: str, options: tuple[str, ...] = READ_ONLY) -> str:
    return docker("run", "--rm", OF_THIS_RUN, *options, image, *command).stdout.decode()


@contextmanager
def server_in(image: str, *options: str) -> Iterator[str]:
    """A container that runs PROGRAM, looked at each second; healthy at first."""
    told = ("--env", "ARTSTORE_PORT=8010", "--health-interval=1s", "--health-retries=1",
            "--health-start-period=0s", *options)  # fmt: skip
    command = ("python", "-c", PROGRAM)
    started = docker("run", "--detach", OF_THIS_RUN, *READ_ONLY, *told, image, *command)
    container = started.stdout.decode().strip()
    try:
        turns(container, "healthy")
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


def turns(container: str, status: str) -> str:
    """Wait until the engine calls it so; return what the check said."""

    def health() -> dict[str, object]:
        shown = docker("inspect", "--format", "{{json .State.Health}}", container)
        found: dict[str, object] = json.loads(shown.stdout)
        return found

    wait_until(lambda: health()["Status"] == status, 30, f"the container is {status}")
    return str(health()["Log"])


def test_nothing_in_it_runs_as_root(image: str) -> None:
    told = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    assert told["User"] == "10001:10001"
    assert run_in(image, "id", "-u").strip() == "10001"


def test_labels_say_what_it_is_and_the_engine_how_to_end_it(image: str) -> None:
    told = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in told["Labels"].items()
    }
    assert labels["title"] == "ArtStore"
    assert labels["version"] == VERSION
    assert {"revision", "created", "base.name", "description"} <= set(labels)
    assert told["StopSignal"] == "SIGTERM"
    assert told["Healthcheck"]["Test"] == ["CMD", "artstore-healthy"]


@pytest.mark.parametrize("module", sorted({plan.module for plan in topology.SERVERS}))
def test_a_server_starts_on_a_file_system_that_can_not_be_written(image: str, module: str) -> None:
    told = ("--env=ARTSTORE_DATABASE_URL=postgresql://host/name",
            "--env=ARTSTORE_REDIS_URL=redis://host", "--env=ARTSTORE_ELEMENT_ID=se-01")  # fmt: skip
    command = ("python", "-m", module, "--check-config")
    shown = run_in(image, *command, options=(*READ_ONLY, *told))
    settings = json.loads(shown)
    assert settings["ARTSTORE_DATA_DIR"] == "/var/lib/artstore/data"
    assert settings["ARTSTORE_HOST"] == "0.0.0.0"


def test_the_command_needs_no_place_to_write(image: str) -> None:
    assert "Usage: artstore" in run_in(image, options=("--read-only",))


def test_python_finds_its_caches_made_and_makes_none(image: str) -> None:
    """As root on a file system that can be written: what was stale would be made anew."""
    modules = [plan.module for plan in topology.SERVERS]
    imports = "; ".join(f"import {module}.app" for module in modules)
    options = ("--user", "0", "--env", "PYTHONDONTWRITEBYTECODE=")
    made = (
        docker("create", OF_THIS_RUN, *options, image, "python", "-c", imports)
        .stdout.decode()
        .strip()
    )
    try:
        docker("start", "--attach", made)
        assert docker("diff", made).stdout.decode() == ""
    finally:
        docker("rm", "--force", "--volumes", made)


def test_it_has_the_locked_packages_and_each_finds_what_it_needs(image: str) -> None:
    found = json.loads(run_in(image, "python", "-c", PACKAGES))
    versions = {canonicalize_name(name): version for name, version, _ in found}
    assert versions.pop("artstore") == VERSION
    assert versions.items() <= locked("server").items()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needs = [need for _, _, requires in found for need in requires] + project["dependencies"]
    # The image's own Python and platform are Debian's, whatever the tests run on.
    marked = {"python_version": "3.11", "python_full_version": "3.11.2", "extra": ""}
    for need in map(Requirement, needs):
        if need.marker is None or need.marker.evaluate(marked):
            version = versions.get(canonicalize_name(need.name), VERSION)
            assert need.specifier.contains(version), need


def test_nothing_is_in_it_that_builds_or_tests(image: str) -> None:
    tools = ("cc", "gcc", "ld", "strip", "make", "pip", "pip3", "uv", "git", "curl", "wget")
    looked = "; ".join(f"command -v {tool}" for tool in tools)
    assert run_in(image, "sh", "-c", f"{looked}; true") == ""
    modules = ("pip", "setuptools", "ensurepip", "launch", "tests", "bench", "pytest")
    asked = f"from importlib.util import find_spec; print([*filter(find_spec, {modules})])"
    assert run_in(image, "python", "-c", asked).strip() == "[]"


def test_it_is_small(image: str) -> None:
    told = json.loads(docker("image", "inspect", image).stdout)[0]
    assert told["Size"] < LARGEST_BYTES
    assert len(told["RootFS"]["Layers"]) <= 5


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_server_that_is_frozen_or_says_that_it_does_not_serve_is_unhealthy(
    image: str, tls: bool, tmp_path: Path
) -> None:
    options: tuple[str, ...] = ()
    if tls:
        tmp_path.chmod(0o755)
        cert, key = Authority(tmp_path).issue()
        options = (
            f"--volume={tmp_path}:/run/tls:ro",
            f"--env=ARTSTORE_TLS_CERT_FILE=/run/tls/{cert.name}",
            f"--env=ARTSTORE_TLS_KEY_FILE=/run/tls/{key.name}",
        )
    with server_in(image, *options) as container:
        docker("kill", "--signal", "STOP", container)
        assert "no answer within 3 s" in turns(container, "unhealthy")
        docker("kill", "--signal", "CONT", container)
        assert "SERVING" in turns(container, "healthy")
        docker("kill", "--signal", "USR1", container)
        assert "it is not serving" in turns(container, "unhealthy")


def test_a_server_whose_event_loop_is_held_up_is_unhealthy(image: str) -> None:
    with server_in(image) as container:
        docker("kill", "--signal", "USR2", container)
        assert "no answer within 3 s" in turns(container, "unhealthy")


def test_a_check_finds_the_server_by_the_settings_it_has(image: str) -> None:
    moved = ("--env=ARTSTORE_PORT_OFFSET=11", "--env=ARTSTORE_HOST=127.0.0.1")
    with server_in(image, *moved) as container:
        docker("exec", container, "artstore-healthy")
        elsewhere = docker(
            "exec", "--env=ARTSTORE_PORT_OFFSET=0", container, "artstore-healthy", check=False
        )
        unset = docker("exec", "--env=ARTSTORE_PORT=", container, "artstore-healthy", check=False)
    assert (elsewhere.returncode, unset.returncode) == (1, 1)
    assert b"no connection to 127.0.0.1 port 8010: Connection refused" in elsewhere.stdout
    assert b"ARTSTORE_PORT is not set" in unset.stdout


def test_a_check_costs_next_to_nothing(image: str) -> None:
    with server_in(image) as container:
        seconds = float(docker("exec", container, "python", "-c", COST).stdout)
    assert seconds < 0.03


@pytest.mark.full
@pytest.mark.parametrize("buildkit", ["1", "0"], ids=["BuildKit", "classic builder"])
def test_two_builds_have_the_same_layers(image: str, buildkit: str) -> None:
    again = built("image-again", "--no-cache", buildkit=buildkit)
    assert layers_of(again) == layers_of(image)


def layers_of(image: str) -> list[str]:
    """Digests of the layers that hold something."""
    told = json.loads(docker("image", "inspect", image).stdout)[0]
    return [layer for layer in told["RootFS"]["Layers"] if layer != EMPTY_LAYER]

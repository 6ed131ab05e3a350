"""`python -m tests.containers [arguments of pytest]`: what `make test-compose` runs.

Takes the Docker Engine that answers, else starts one of its own; makes the images that no registry
gives; runs the tests of this folder; removes what they left. Where it can't, it says why in one
line and ends with 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.containers import engine
from tests.containers.base_images import NoStandIn, needed, provide
from tests.containers.composed import PROJECTS, RUN
from tests.containers.leftovers import sweep
from tests.mesh_process import REPOSITORY

TEST_SECONDS = 1000


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def _prepare(steps: ExitStack) -> None:
    """Have an engine, Compose and base images; the environment tells where.

    Raises:
        CannotRun, NoStandIn: one of them can't be had.
    """
    cache = engine.cache_folder()
    with _timed("packages, engine and Compose"):
        programs = {"debootstrap": "debootstrap"} if os.geteuid() == 0 else {}
        if not engine.answers():
            programs |= {"dockerd": "docker.io", "docker": "docker.io"}
        engine.install(programs)
        # Debian 12 has the command in the engine's package, Debian 13 beside it.
        engine.install({"docker": "docker-cli"})
        config = engine.docker_config(cache)
        if config is not None:
            os.environ["DOCKER_CONFIG"] = str(config)
        if not engine.answers():
            own = steps.enter_context(engine.own_engine(cache))
            os.environ["DOCKER_HOST"] = own.host
            os.environ[engine.OWN_ENGINE] = str(own.folder)
            print(f"this run has a Docker Engine of its own; images stay in {cache}")
            # Of a run that was killed.
            sweep("artstore-test-")
    with _timed("base images"):
        for image in provide(needed()):
            print(f"made {image}")


def _sweep_up() -> None:
    # A test kills an engine of our own; what that leaves, the next run finds in the cache.
    if engine.answers():
        sweep(PROJECTS)


def main(arguments: list[str]) -> int:
    """Return the exit code of pytest, or 1."""
    os.environ["ARTSTORE_TEST_RUN"] = RUN
    with ExitStack() as steps, engine.terminated_by_exception():
        try:
            _prepare(steps)
        except (engine.CannotRun, NoStandIn) as cause:
            print(f"make test-compose can't run here: {cause}", file=sys.stderr)
            return 1
        # Whatever ends the tests.
        steps.callback(_sweep_up)
        command = [
            sys.executable, "-m", "pytest", "-m", "containers and not full",
            f"--timeout={TEST_SECONDS}", "--durations=10", "tests/containers", *arguments,
        ]  # fmt: skip
        with _timed("image and tests"):
            return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

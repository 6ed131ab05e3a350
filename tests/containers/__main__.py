"""`python -m tests.containers [arguments of pytest]`: what `make test-compose` runs.

`python -m tests.containers sweep [artstore-test-...]` removes what a killed run left in an engine.

Takes the Docker Engine that answers, else starts one of its own; makes the images that no registry
gives; runs the tests of this folder; removes what they left. Where it can't, it says why in one
line and ends with 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.containers import engine
from tests.containers.base_images import NoStandIn, needed, provide, remove
from tests.containers.composed import PROJECTS, RUN
from tests.containers.leftovers import sweep
from tests.support.mesh import REPOSITORY

TEST_SECONDS = 1800
# Until tests that are told to end have removed what they began.
END_SECONDS = 60.0
ALL_PROJECTS = "artstore-test-"
COMMAND = ".venv/bin/python -m tests.containers"


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
            sweep(ALL_PROJECTS)
            steps.callback(engine.prune_builds)
        else:
            engine.require_local()
            # It may go on, or be on another machine that shares the engine: nobody else can tell.
            print(f"if this run is killed, `{COMMAND} sweep {PROJECTS}` removes what it leaves")
    with _timed("base images"):
        made = provide(needed())
        for image in made:
            print(f"made {image}")
        if engine.OWN_ENGINE not in os.environ:
            # Others take these names for what a registry gives.
            steps.callback(remove, made)


def _sweep_up(prefix: str) -> None:
    # A test kills an engine of our own; what that leaves, the next run finds in the cache.
    if engine.answers() and (problems := sweep(prefix)):
        print(f"not removed:\n{problems}", file=sys.stderr)


def _run_to_the_end(command: list[str]) -> int:
    """Run the tests; if we are to end, let them remove what they began.

    They and what they started are a session of their own, so that Ctrl-C comes once.
    """
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, start_new_session=True
    ) as tests:
        try:
            return tests.wait()
        except KeyboardInterrupt:
            tests.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                tests.wait(END_SECONDS)
            raise
        finally:
            # Also a `docker compose up` that would go on while its containers are removed.
            with suppress(ProcessLookupError):
                os.killpg(tests.pid, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Return the exit code of pytest, or 1."""
    if arguments[:1] == ["sweep"]:
        _sweep_up(arguments[1] if arguments[1:] else ALL_PROJECTS)
        return 0
    os.environ["ARTSTORE_TEST_RUN"] = RUN
    with ExitStack() as steps, engine.terminated_by_exception():
        try:
            _prepare(steps)
        except (engine.CannotRun, NoStandIn) as cause:
            print(f"make test-compose can't run here: {cause}", file=sys.stderr)
            return 1
        # Whatever ends the tests.
        steps.callback(_sweep_up, PROJECTS)
        command = [
            sys.executable, "-m", "pytest", "-m", "containers and not full",
            f"--timeout={TEST_SECONDS}", "--durations=10", "tests/containers", *arguments,
        ]  # fmt: skip
        with _timed("image and tests"):
            return _run_to_the_end(command)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

"""`kill -9` of admin, source, target or two admins at every step of a transfer: it ends completed,
or as if it had never begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from artstore_client import Client
from tests.faults.killed_steps import OF_A_FINALIZATION, SOON, STEPS, Moves
from tests.faults.second_admin import SecondAdmin
from tests.faults.stops import Stops, that_stop
from tests.support.caller import Caller
from tests.support.mesh import MeshProcess, running_mesh
from tests.support.services import S3Process

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

WHO = ("admin", "source", "target", "both-admins")
ON_S3 = (
    "amid-bytes",
    "before-commit",
    "blob-in-place",
    "incoming-sidecar",
    "moved-sidecar",
    "active-sidecar",
    "bytes-gone",
)


@pytest.fixture(scope="module")
def stoppable_local() -> Iterator[MeshProcess]:
    """A mesh on local files whose servers stop where they are asked to."""
    with running_mesh({**SOON, **that_stop()}, quiet=False) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def stoppable_s3(s3_server: S3Process) -> Iterator[MeshProcess]:
    """The same on S3."""
    environment = {**SOON, **that_stop(), **s3_server.create_bucket().environment()}
    with running_mesh(environment, quiet=False) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def second_admins() -> Iterator[dict[str, SecondAdmin]]:
    """Of meshes that have one by now, by their folders."""
    with ExitStack() as stack:
        found: dict[str, SecondAdmin] = {}
        stack.callback(lambda: [one.kill() for one in found.values()])
        yield found


async def moved(
    mesh: MeshProcess,
    seconds: dict[str, SecondAdmin],
    folder: Path,
    step: str,
    victim: str,
    *,
    finalizes: bool = False,
) -> None:
    """A file, with a death on its way."""
    second = seconds.get(str(mesh.data_dir))
    if victim == "both-admins" and second is None:
        second = seconds[str(mesh.data_dir)] = SecondAdmin(mesh)
        second.start()
        second.wait_answers()
    async with (
        Caller(mesh.file) as caller,
        Client.connect(
            mesh_file=mesh.mesh_file, state_folder=folder, retry_for_seconds=60.0
        ) as client,
    ):
        moves = Moves(mesh, client, caller, Stops(mesh), second, finalizes)
        await moves.through_death(step, victim)


# The second admin stays once it is there, so its deaths come last.
@pytest.mark.parametrize("victim", WHO)
@pytest.mark.parametrize("step", STEPS)
async def test_a_move_ends_completed_whoever_dies_at_whatever_step(
    stoppable_local: MeshProcess,
    second_admins: dict[str, SecondAdmin],
    tmp_path: Path,
    step: str,
    victim: str,
) -> None:
    await moved(stoppable_local, second_admins, tmp_path, step, victim)


@pytest.mark.parametrize("victim", WHO)
@pytest.mark.parametrize("step", ON_S3)
async def test_a_move_on_s3_ends_completed_whoever_dies(
    stoppable_s3: MeshProcess,
    second_admins: dict[str, SecondAdmin],
    tmp_path: Path,
    step: str,
    victim: str,
) -> None:
    await moved(stoppable_s3, second_admins, tmp_path, step, victim)


@pytest.mark.parametrize("victim", [*WHO, "ingest"])
@pytest.mark.parametrize(
    "step",
    [*OF_A_FINALIZATION, "asked-for", "incoming-sidecar", "active-sidecar", "before-completed"],
)
async def test_a_finalization_that_is_asked_for_again_ends_completed_whoever_dies(
    stoppable_local: MeshProcess,
    second_admins: dict[str, SecondAdmin],
    tmp_path: Path,
    step: str,
    victim: str,
) -> None:
    await moved(stoppable_local, second_admins, tmp_path, step, victim, finalizes=True)

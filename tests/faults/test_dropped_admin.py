"""Admin's database is dropped in the middle of a transfer: it ends completed, or as if it had never
begun, by what the sidecars say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from artstore_client import Client
from tests.faults.killed_steps import SOON, Moves
from tests.faults.stops import Stops, that_stop
from tests.support.caller import Caller
from tests.support.mesh import MeshProcess, running_mesh
from tests.support.services import S3Process
from tests.support.waiting import until

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

# What arrived, and whose transfer nobody remembers, goes soon.
LEFT_SOON = {"ARTSTORE_INCOMING_KEEP_DAYS": "0.00004"}
STEPS = (
    "asked-for",
    "stage-open",
    "amid-bytes",
    "blob-in-place",
    "incoming-row",
    "before-mark-moved",
    "moved-sidecar",
    "synced-sidecar",
    "activate-on-record",
    "before-activate",
    "active-sidecar",
    "before-completed",
    "gone-sidecar",
)
BACK_SECONDS = 60.0


@pytest.fixture(scope="module", params=["local", "s3"])
def stoppable(request: pytest.FixtureRequest) -> Iterator[MeshProcess]:
    """A mesh whose servers stop where they are asked to."""
    bucket: dict[str, str] = {}
    if request.param == "s3":
        server: S3Process = request.getfixturevalue("s3_server")
        bucket = server.create_bucket().environment()
    with running_mesh({**SOON, **LEFT_SOON, **that_stop(), **bucket}, quiet=False) as mesh:
        yield mesh


@pytest.mark.parametrize("goes_on", [False, True], ids=["killed", "goes-on"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_move_ends_when_admin_s_database_is_dropped(
    stoppable: MeshProcess, tmp_path: Path, step: str, goes_on: bool
) -> None:
    async with (
        Caller(stoppable.file) as caller,
        Client.connect(
            mesh_file=stoppable.mesh_file, state_folder=tmp_path, retry_for_seconds=60.0
        ) as client,
    ):
        moves = Moves(stoppable, client, caller, Stops(stoppable))
        await moves.through_loss_of_tables(step, goes_on=goes_on)
        # Elements, and accounts of the bootstrap, are there again.
        await until(lambda: _logs_in(stoppable), BACK_SECONDS)
        await moves.ended_without_tables()


async def _logs_in(mesh: MeshProcess) -> bool:
    try:
        async with Caller(mesh.file):
            return True
    except Exception:
        return False

"""Two admins, two ingests, two queries and three elements, one container after the other hurt."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from artstore_client import Client
from artstore_client.errors import ArtStoreError
from tests.containers.composed import Address, ComposedMesh, checkout, run
from tests.containers.failures import (
    Row,
    broken,
    hurt_one,
    page,
    require_all_found,
    require_whole,
)
from tests.containers.hurts import Containers, Hurt, hurts, silence_of
from tests.containers.load import Load
from tests.containers.rolling import SHARED, Rolled, roll
from tests.support.mesh import REPOSITORY

UP_SECONDS = 500.0
PAIRS = (("admin", 8000, (10, 40)), ("ingest", 8020, (20, 50)), ("query", 8030, (30, 60)))
SERVERS = ("admin", "admin-2", "ingest", "ingest-2", "query", "query-2", "se-01", "se-02", "se-03")
# Of each kind one, and shorter: the whole table takes more than twenty minutes.
SHORT = (
    ("admin", "killed"),
    ("query", "paused"),
    ("ingest-2", "cut off"),
    ("se-01", "killed"),
)
PAGE = REPOSITORY / "docs" / "failures.md"
COMMAND = "make test-compose PYTEST_ARGS='-m full -k whole_table'"
FULL_SECONDS = 3600


def manual(section: str) -> str:
    """The shell block of a section of the manual."""
    text = (REPOSITORY / "docs" / "operations.md").read_text().partition(f"## {section}")[2]
    found = re.search(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, section
    return found[1]


@pytest.fixture(scope="module")
def several(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedMesh]:
    """The mesh of docs/operations.md, started as it says."""
    folder = tmp_path_factory.mktemp("several")
    mesh = checkout(folder, Address.free(), "several")
    shutil.copy2(REPOSITORY / "compose.several.yaml", folder)
    try:
        commands = manual("On one machine, as containers")
        done = run(["bash", "-euxc", commands], cwd=folder, seconds=UP_SECONDS, check=False)
        printed = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"{printed}\n{mesh.state()}"
        yield mesh
    finally:
        if (folder / ".env").exists():
            mesh.down("--volumes", "--timeout", "0")


@pytest.fixture(scope="module")
def settings(several: ComposedMesh, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a client on this host is told: both servers of each pair, at their own addresses."""
    network = several.address.network
    places = {
        name: ",".join(f"{network}.{last}:{port}" for last in lasts) for name, port, lasts in PAIRS
    }
    return {
        **places,
        "client_id": several.settings["ARTSTORE_CLIENT_ID"],
        "client_secret": several.settings["ARTSTORE_CLIENT_SECRET"],
        "state_folder": tmp_path_factory.mktemp("state"),
    }


@pytest.fixture
async def client(settings: dict[str, Any]) -> AsyncIterator[Client]:
    async with Client.connect(**settings) as made:
        yield made


async def table(
    mesh: ComposedMesh,
    client: Client,
    load: Load,
    wanted: Sequence[tuple[str, Hurt]],
    on_row: Callable[[list[Row]], None],
) -> list[Row]:
    """Hurt what is wanted in turn, and look at everything after each."""
    containers = await asyncio.to_thread(Containers, mesh)
    rows = []
    looked_at: set[str] = set()
    for service, hurt in wanted:
        row = await hurt_one(containers, load, service, hurt)
        well = f"well after {row.recovered_seconds:.1f} s"
        print(f"{service} {hurt.name}: {len(row.calls)} calls, {well}", flush=True)
        new = [one for key, one in load.stored.items() if key not in looked_at]
        looked_at |= load.stored.keys()
        try:
            await require_whole(client, new)
        except (AssertionError, ArtStoreError) as error:
            row.problems.append(f"not whole afterwards: {error}")
        rows.append(row)
        print("".join(f"  FAILED {failure}\n" for failure in row.failures), flush=True)
        on_row(rows)
    return rows


async def hurt_all(
    several: ComposedMesh,
    settings: dict[str, Any],
    client: Client,
    wanted: Sequence[tuple[str, Hurt]],
    on_row: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    load = Load(settings)
    async with load.running():
        await load.settled()
        rows = await table(several, client, load, wanted, on_row)
    await require_whole(client, load.stored.values())
    await require_all_found(client, load)
    return rows


async def rolling(several: ComposedMesh, settings: dict[str, Any], client: Client) -> Rolled:
    load = Load(settings)
    async with load.running():
        await load.settled()
        rolled = await roll(several, settings, load, manual("Restarting all servers"))
        await load.settled()
    await require_whole(client, load.stored.values())
    await require_all_found(client, load)
    return rolled


async def test_clients_that_repeat_notice_no_container_that_is_hurt(
    several: ComposedMesh, settings: dict[str, Any], client: Client
) -> None:
    known = hurts(silence=10.0)
    wanted = [(service, known[name]) for service, name in SHORT]
    rows = await hurt_all(several, settings, client, wanted)
    assert [failure for row in rows for failure in row.failures] == []


async def test_a_rolling_restart_in_the_order_of_the_manual_fails_no_call(
    several: ComposedMesh, settings: dict[str, Any], client: Client
) -> None:
    rolled = await rolling(several, settings, client)
    assert rolled.failures == []
    assert rolled.failures_without_repeats == []


async def test_the_command_in_a_container_finds_both_of_each_pair(several: ComposedMesh) -> None:
    firsts = [name for name, _, _ in PAIRS]
    several.compose("stop", *firsts)
    try:
        several.in_container("put", "/etc/hostname", "--name", "one.txt")
        assert b"one.txt" in several.in_container("search", "one").stdout
    finally:
        several.compose("start", *firsts)
        several.wait_healthy(*firsts)


async def test_the_command_on_this_host_is_told_of_both_at_their_ports(
    several: ComposedMesh,
) -> None:
    commands = manual("What servers and clients are told")
    firsts = [name for name, _, _ in PAIRS]
    several.compose("stop", *firsts)
    try:
        done = run(["bash", "-euc", commands], cwd=several.folder)
        assert b"search" in done.stdout
    finally:
        several.compose("start", *firsts)
        several.wait_healthy(*firsts)


@pytest.mark.full
@pytest.mark.timeout(FULL_SECONDS)
async def test_the_whole_table(
    several: ComposedMesh, settings: dict[str, Any], client: Client
) -> None:
    rolled = await rolling(several, settings, client)
    services = [*SERVERS, *SHARED]

    known = {service: hurts(silence=silence_of(service)) for service in services}
    names = list(known[services[0]])
    wanted = [(service, known[service][name]) for name in names for service in services]

    def write(rows: Sequence[Row], *, looked: bool = False) -> None:
        ordered = sorted(rows, key=lambda row: services.index(row.service))
        PAGE.write_text(
            page(ordered, rolled.told, wanted=len(wanted), looked=looked, command=COMMAND)
        )

    # After each row: a run that is ended early has its page all the same, and says how far it came.
    rows = await hurt_all(several, settings, client, wanted, write)
    write(rows, looked=True)
    assert [failure for row in rows for failure in row.failures] == []
    assert broken(rows) == []
    assert rolled.failures == []
    assert rolled.failures_without_repeats == []

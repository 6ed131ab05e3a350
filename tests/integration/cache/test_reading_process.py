"""Reading by another process: the same rows as without it, whatever becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from storage_server.cache import merging, reading
from storage_server.cache.candidates import Seen
from storage_server.cache.reading import Reading, Sorted
from tests.support.cache_rig import CacheRig, path_of, utc_now
from tests.support.waiting import until

NOW = utc_now()


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WORTH_A_PROCESS", 0)


def reading_of(rig: CacheRig) -> Reading:
    return Reading(lambda: rig.store, lambda: Seen(NOW, 24))


@pytest.fixture
async def begun(rig: CacheRig) -> AsyncIterator[Reading]:
    """With its process ready."""
    async with reading_of(rig) as made:
        await started(made)
        yield made


async def started(made: Reading) -> psutil.Process:
    await made.read([], frozenset())
    await until(lambda: made.process_id is not None, 60)
    assert made.process_id is not None
    return psutil.Process(made.process_id)


async def read_here(rig: CacheRig, paths: list[str]) -> Sorted:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "WORTH_A_PROCESS", 1 << 60)
        async with reading_of(rig) as made:
            return await made.read(paths, {paths[0]})


async def all_kinds(rig: CacheRig) -> list[str]:
    """Paths of what is valid, edited by hand, invalid, no file, and not there."""
    made = await rig.upload_many(4, description="отчёт")
    edited, invalid, folder, gone = made
    content = rig.backdoor.read(path_of(edited))
    rig.backdoor.write(path_of(edited), content.replace(b",", b", "))
    rig.backdoor.write(path_of(invalid), b"{")
    rig.backdoor.remove(path_of(folder))
    rig.backdoor.remove(path_of(gone))
    (rig.settings.data_dir / "storage_element_01" / path_of(folder)).mkdir()
    return [path_of(one) for one in [*made, await rig.upload()]]


async def test_it_answers_what_would_be_read_here(rig: CacheRig, begun: Reading) -> None:
    paths = await all_kinds(rig)
    valid, invalid = expected = await read_here(rig, paths)
    assert (len(valid), len(invalid)) == (2, 2)
    assert await begun.read(paths, {paths[0]}) == expected
    assert begun.process_id is not None


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_it_does_not_answer_is_read_here(
    rig: CacheRig, begun: Reading, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SILENT_SECONDS", 0.5)
    paths = await all_kinds(rig)
    other = psutil.Process(begun.process_id)
    other.send_signal(sent)
    expected = await read_here(rig, paths)
    assert await begun.read(paths, {paths[0]}) == expected
    assert begun.process_id is None
    assert not other.is_running()
    assert await begun.read(paths, {paths[0]}) == expected


async def test_a_store_that_is_gone_is_told_of_as_it_is_here(rig: CacheRig, begun: Reading) -> None:
    sidecar = await rig.upload()
    root = rig.settings.data_dir / "storage_element_01"
    root.rename(root.with_name("elsewhere"))
    try:
        with pytest.raises(Exception, match="is its file system mounted"):
            await begun.read([path_of(sidecar)], frozenset())
    finally:
        root.with_name("elsewhere").rename(root)


async def test_nothing_of_it_is_left_behind(rig: CacheRig) -> None:
    async with reading_of(rig) as made:
        other = await started(made)
    assert not other.is_running()
    for seconds in (0, 0.01, 0.1):
        before = set(psutil.Process().children())
        async with reading_of(rig) as made:
            await made.read([], frozenset())
            await asyncio.sleep(seconds)
        assert set(psutil.Process().children()) <= before


async def test_it_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from storage_server.cache.reading import _started\n"
        "process, connection = _started(Path(sys.argv[1]))\n"
        "connection.recv_bytes()\n"
        "print(process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    server = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    other = psutil.Process(int(await asyncio.to_thread(server.stdout.readline)))
    server.kill()
    server.wait()
    await until(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE, 20)


async def test_a_rebuild_whose_reading_process_is_killed_again_and_again_makes_all_rows(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "READ_TOGETHER", 2)
    await rig.upload_many(30)
    for _ in range(3):
        await rig.sql("DELETE FROM {files}")
        rebuilding = asyncio.create_task(rig.full())
        while not rebuilding.done():
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):
                    if reading.__name__ in " ".join(child.cmdline()):
                        child.kill()
            await asyncio.sleep(0.02)
        assert (await rebuilding).entries_created == 30
        assert await rig.rows_equal_sidecars()

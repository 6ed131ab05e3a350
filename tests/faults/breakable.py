"""A mesh on services of its own, any part of which can be stopped or frozen and mended again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from launch import processes
from tests.support.mesh import MeshProcess, running_mesh
from tests.support.services import (
    PostgresProcess,
    S3Process,
    ServiceProcess,
    ValkeyProcess,
    freeze_family,
)

Step = Callable[[], None]
STOPPED, FROZEN = "stopped", "frozen"
REDIS, POSTGRES, S3 = "redis", "postgres", "s3"
# What a frozen S3 server costs: a part that it does not take is waited for so long.
QUICK_S3 = {"ARTSTORE_STORE_PATIENT_SECONDS": "5"}


@dataclass
class Breakable:
    """A mesh whose launcher restarts nothing.

    Attributes:
        services: `redis`, `postgres` and, where it has one, `s3`.
    """

    mesh: MeshProcess
    services: dict[str, ServiceProcess]
    _restarted: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @asynccontextmanager
    async def without(self, part: str, how: str) -> AsyncIterator[None]:
        """A service or a server is stopped or frozen in the block, and mended after it."""
        begin, end = self._service(part, how) if part in self.services else self._server(part, how)
        await asyncio.to_thread(begin)
        try:
            yield
        finally:
            await asyncio.to_thread(end)

    def restart(self, server: str) -> None:
        """End a server at once and start it as the launcher had started it."""
        again = self._kill(server)
        again()

    def discard(self) -> None:
        """End what this has started."""
        for process in self._restarted.values():
            processes.signal_family(process.pid, signal.SIGKILL)
            process.wait()

    # --- inside ----------------------------------------------------------------------

    def _service(self, part: str, how: str) -> tuple[Step, Step]:
        service = self.services[part]
        if how == FROZEN:
            service.freeze()
            return (lambda: None), service.thaw
        return service.stop, service.start

    def _server(self, name: str, how: str) -> tuple[Step, Step]:
        if how == FROZEN:
            pid = self._pid(name)
            freeze_family(pid)
            return (lambda: None), lambda: processes.signal_family(pid, signal.SIGCONT)
        return (lambda: None), self._kill(name)

    def _pid(self, name: str) -> int:
        again = self._restarted.get(name)
        return again.pid if again is not None else self.mesh.pid_of(name)

    def _kill(self, name: str) -> Step:
        process = psutil.Process(self._pid(name))
        command, environment, folder = process.cmdline(), process.environ(), process.cwd()
        processes.signal_family(process.pid, signal.SIGKILL)
        if name in self._restarted:
            self._restarted[name].wait()

        def start() -> None:
            with (self.mesh.data_dir / "logs" / f"{name}.log").open("ab") as log:
                self._restarted[name] = subprocess.Popen(
                    processes.wrapped(command),
                    env=environment,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

        return start


@contextmanager
def breakable_mesh(*, on_s3: bool) -> Iterator[Breakable]:
    """Run a mesh with PostgreSQL, Valkey and, if asked, S3 of its own."""
    with TemporaryDirectory(prefix="artstore-own-") as name, ExitStack() as stack:
        folder = Path(name)
        postgres, valkey = PostgresProcess(folder / "pg"), ValkeyProcess(folder / "valkey")
        services: dict[str, ServiceProcess] = {POSTGRES: postgres, REDIS: valkey}
        s3 = S3Process(folder / "s3")
        if on_s3:
            services[S3] = s3
        folder.chmod(0o755)
        for service in services.values():
            stack.callback(service.discard)
            service.start()
        environment = {
            "ARTSTORE_RESTART": "0",
            "ARTSTORE_DATABASE_URL": postgres.create_database(),
            "ARTSTORE_REDIS_URL": valkey.url,
            **(s3.create_bucket().environment() | QUICK_S3 if on_s3 else {}),
        }
        found = Breakable(stack.enter_context(running_mesh(environment, quiet=False)), services)
        stack.callback(found.discard)
        yield found

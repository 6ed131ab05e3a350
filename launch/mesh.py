"""One run of the mesh: what stands below first, then the servers, and back in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from launch import accounts, environment, processes, topology
from launch.accounts import Account
from launch.cause import cause_in, told_since
from launch.data_folder import INFRASTRUCTURE, DataFolder
from launch.forked import ForkServer
from launch.health import HealthProbe
from launch.logs import start_keeping_short
from launch.ports import leave_taken_port, require_free_ports
from launch.postgres import PostgresCluster
from launch.private_file import write_private
from launch.processes import Identity
from launch.supervisor import Execution, Program, Supervisor
from launch.topology import LaunchSettings
from launch.valkey import ValkeyInstance
from mesh.calls.tls import channel_files
from mesh.concurrency.watched import cancel_and_wait
from mesh.settings import SettingsError

_INFRASTRUCTURE_START_SECONDS = 30.0
# Tables of an earlier version are brought up to date meanwhile.
_SERVERS_START_SECONDS = 120.0
# A start takes some seconds; one that takes longer says what it waits for, now and then.
_FIRST_NEWS_SECONDS = 8.0
_NEWS_SECONDS = 10.0


class StartFailed(RuntimeError):
    """The mesh did not come up; the message says which part and why."""


class Mesh:
    """The processes of one run and the file that tells others about them.

    Args:
        settings: what the user set.
        folder: the data folder, held by this process.
        say: prints one line for the person at the terminal.
    """

    def __init__(
        self, settings: LaunchSettings, folder: DataFolder, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._say = say
        self._accounts: dict[str, Account] = {}
        self._database_url = settings.database_url
        self._redis_url = settings.redis_url
        self._complete = False
        self._log_begins: dict[str, int] = {}
        self._socket_folder: Path | None = None
        self._shortening: asyncio.Task[None] | None = None
        self._probe = HealthProbe(topology.endpoints(settings), settings.tls.settings())
        self._fork_server = ForkServer(topology.imports(), topology.environment_of_all(settings))
        self._supervisor = Supervisor(
            restart=settings.restart,
            changed=self._record,
            say=say,
            fork_server=self._fork_server,
        )

    @property
    def account(self) -> Account:
        """The first account, ADMIN."""
        return self._accounts[accounts.FIRST_ACCOUNT]

    async def start(self) -> None:
        """Bring everything up and write mesh.json.

        Raises:
            PortTaken: a server's port is not free.
            StartFailed: something did not answer in time.
        """
        ended = await asyncio.to_thread(self._folder.end_leftovers)
        if ended:
            self._say(f"ended what a killed run had left: {', '.join(ended)}")
        require_free_ports(topology.ports(self._settings))
        self._shortening = start_keeping_short(self._folder.logs)
        self._fork_server.open()
        self._accounts = accounts.load_or_make(
            self._folder.credentials_file, [plan.account for plan in topology.SERVERS]
        )
        await self._prepare_tls()
        await asyncio.gather(self._start_postgres(), self._start_valkey())
        # The others ask admin for their tokens first of all, and wait if it is not there yet.
        admin, *others = topology.SERVERS
        await self._start_servers([admin])
        await self._start_servers(others)
        await self._probe.close()
        self._complete = True
        self._write_mesh_file(self._supervisor.identities())

    async def stop(self) -> None:
        """Stop the servers, then what stands below; returns when no process is left."""
        await cancel_and_wait(self._shortening)
        self._fork_server.close()
        await self._supervisor.stop([plan.name for plan in topology.SERVERS])
        for name in INFRASTRUCTURE:
            await self._supervisor.stop([name])
        await self._probe.close()
        self._folder.processes_file.unlink(missing_ok=True)
        if self._socket_folder is not None:
            # In the folder of temporary files it would be one more for each TMPDIR.
            with contextlib.suppress(OSError):
                self._socket_folder.rmdir()

    def kill(self) -> None:
        """Kill every process at once."""
        self._supervisor.kill_all()

    async def _prepare_tls(self) -> None:
        tls = self._settings.tls
        if tls.own is not None:
            # What it imports a mesh in plain text has no use for.
            try:
                from launch import certificates
            except ImportError as missing:
                raise StartFailed(
                    "no certificates can be made here: install `artstore[embedded]`, or set"
                    " ARTSTORE_TLS_CERT_FILE and ARTSTORE_TLS_KEY_FILE"
                ) from missing

            made = await asyncio.to_thread(certificates.make_own, tls.own, tls.environment)
            if made:
                self._say(f"made certificates in {tls.own}: {', '.join(made)}")
        try:
            await asyncio.to_thread(channel_files, tls.settings())
        except SettingsError as refused:
            raise StartFailed(str(refused)) from refused

    async def _start_postgres(self) -> None:
        if self._database_url:
            return
        # The servers' password is new in each run: it is set through the socket, which needs none.
        password = secrets.token_urlsafe(24)
        cluster = PostgresCluster(
            self._folder.postgres, port=processes.free_port(), password=password
        )
        self._socket_folder = cluster.socket_folder

        def prepare() -> None:
            cluster.prepare()
            # To make a cluster takes long enough for its port to be taken.
            if not self._database_url:
                leave_taken_port(cluster)

        await self._start_below("postgres", cluster.command, prepare, cluster.answers)
        await asyncio.to_thread(cluster.admit_servers)
        self._database_url = cluster.url(topology.DATABASE)

    async def _start_valkey(self) -> None:
        if self._redis_url:
            return
        instance = ValkeyInstance(
            self._folder.valkey, port=processes.free_port(), password=secrets.token_urlsafe(24)
        )

        def prepare() -> None:
            if not self._redis_url:
                leave_taken_port(instance)
            instance.prepare()

        await self._start_below("valkey", instance.command, prepare, instance.answers)
        self._redis_url = instance.url

    async def _start_below(
        self,
        name: str,
        command: Callable[[], list[str]],
        prepare: Callable[[], None],
        answers: Callable[[], bool],
    ) -> None:
        program = Program(
            name=name,
            execution=Execution(
                command=command,
                environment=environment.of_program(self._settings.environment),
                log=self._log_of(name),
                prepare=prepare,
            ),
            ready=lambda: asyncio.to_thread(answers),
            stop_signal=signal.SIGINT,
        )
        await self._supervisor.start(program)
        await self._require([name], _INFRASTRUCTURE_START_SECONDS)

    def _server(self, plan: topology.ServerPlan) -> Program:
        variables = topology.environment_of(
            plan,
            self._settings,
            database_url=self._database_url,
            redis_url=self._redis_url,
            accounts=self._accounts,
            credentials_file=self._folder.credentials_file,
        )

        async def ready() -> bool:
            service = f"artstore.v1.{plan.service}"
            return await self._probe.serving(plan.name) and await self._probe.serving(
                plan.name, service
            )

        return Program(
            name=plan.name,
            execution=Execution(
                command=lambda: processes.wrapped(topology.command(plan)),
                environment=variables,
                log=self._log_of(plan.name),
                module=plan.module,
            ),
            ready=ready,
        )

    async def _start_servers(self, plans: list[topology.ServerPlan]) -> None:
        for plan in plans:
            await self._supervisor.start(self._server(plan))
        await self._require([plan.name for plan in plans], _SERVERS_START_SECONDS)

    async def _require(self, names: list[str], seconds: float) -> None:
        news = asyncio.create_task(self._tell_news(names))
        try:
            silent = await self._supervisor.wait_ready(names, seconds)
        finally:
            news.cancel()
        if silent:
            # Those that keep ending are why; the others only wait for them.
            failing = [name for name in silent if self._supervisor.last_exit(name) is not None]
            raise StartFailed("; ".join(self._why(name) for name in failing or silent))

    async def _tell_news(self, names: list[str]) -> None:
        began = time.monotonic()
        await asyncio.sleep(_FIRST_NEWS_SECONDS)
        while True:
            waiting = self._supervisor.not_ready(names)
            told = (f"{name} ({self._cause(name) or 'nothing in its log yet'})" for name in waiting)
            self._say(f"waiting for {', '.join(told)} since {time.monotonic() - began:.0f} s")
            await asyncio.sleep(_NEWS_SECONDS)

    def _log_of(self, name: str) -> Path:
        log = self._folder.log_of(name)
        self._log_begins[name] = log.stat().st_size if log.exists() else 0
        return log

    def _cause(self, name: str) -> str:
        log = self._folder.logs / f"{name}.log"
        return cause_in(told_since(log, self._log_begins.get(name, 0)))

    def _why(self, name: str) -> str:
        log = self._folder.logs / f"{name}.log"
        return f"no answer from {name}: {self._cause(name) or 'it says nothing'} (its log is {log})"

    def _record(self, running: Mapping[str, Identity]) -> None:
        self._folder.record(running)
        if self._complete:
            self._write_mesh_file(running)

    def _write_mesh_file(self, running: Mapping[str, Identity]) -> None:
        served = topology.endpoints(self._settings)
        elements = {plan.element_id for plan in topology.ELEMENTS}
        others = {name: address for name, address in served.items() if name not in elements}
        document: dict[str, object] = {
            "endpoints": {**others, "storage": {name: served[name] for name in sorted(elements)}},
            "client_id": self.account.client_id,
            "client_secret": self.account.client_secret,
            "database_url": self._database_url,
            "redis_url": self._redis_url,
            "data_dir": str(self._settings.data_dir),
            "processes": {name: identity.pid for name, identity in running.items()},
        }
        if (tls := self._settings.tls.of_callers()) is not None:
            document["tls"] = tls
        write_private(self._folder.mesh_file, json.dumps(document, indent=2) + "\n")

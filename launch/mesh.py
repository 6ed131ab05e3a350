"""One run of the mesh: what stands below first, then the servers, and back in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import socket
from collections.abc import Callable, Mapping

from launch import accounts, processes, topology
from launch.accounts import Account
from launch.data_folder import INFRASTRUCTURE, DataFolder
from launch.health import HealthProbe
from launch.postgres import PostgresCluster
from launch.private_file import write_private
from launch.processes import Identity
from launch.supervisor import Program, Supervisor
from launch.topology import LaunchSettings
from launch.valkey import ValkeyInstance

_INFRASTRUCTURE_START_SECONDS = 30.0
_SERVERS_START_SECONDS = 60.0
_LOG_TAIL_LINES = 3
_LOG_LINE_LENGTH = 400


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
        self._probe = HealthProbe(topology.endpoints(settings))
        self._supervisor = Supervisor(restart=settings.restart, changed=self._record, say=say)

    @property
    def account(self) -> Account:
        """The first account, ADMIN."""
        return self._accounts[accounts.FIRST_ACCOUNT]

    async def start(self) -> None:
        """Bring everything up and write mesh.json.

        Raises:
            StartFailed: a port is taken, or something did not answer in time.
        """
        ended = await asyncio.to_thread(self._folder.end_leftovers)
        if ended:
            self._say(f"ended what a killed run had left: {', '.join(ended)}")
        require_free_ports(topology.ports(self._settings))
        self._accounts = accounts.load_or_make(
            self._folder.credentials_file, [plan.account for plan in topology.SERVERS]
        )
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
        await self._supervisor.stop([plan.name for plan in topology.SERVERS])
        for name in INFRASTRUCTURE:
            await self._supervisor.stop([name])
        await self._probe.close()
        self._folder.processes_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill every process at once."""
        self._supervisor.kill_all()

    async def _start_postgres(self) -> None:
        if self._database_url:
            return
        # The password is new in each run: it is set through the socket, which needs none.
        password = secrets.token_urlsafe(24)
        cluster = PostgresCluster(
            self._folder.postgres, port=processes.free_port(), password=password
        )
        await self._start_below("postgres", cluster.command, cluster.prepare, cluster.answers)
        await asyncio.to_thread(cluster.set_password)
        self._database_url = cluster.url(topology.DATABASE)

    async def _start_valkey(self) -> None:
        if self._redis_url:
            return
        instance = ValkeyInstance(
            self._folder.valkey, port=processes.free_port(), password=secrets.token_urlsafe(24)
        )
        await self._start_below("valkey", instance.command, instance.prepare, instance.answers)
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
            command=command,
            environment=self._settings.environment,
            log=self._folder.log_of(name),
            ready=lambda: asyncio.to_thread(answers),
            prepare=prepare,
            stop_signal=signal.SIGINT,
        )
        await self._supervisor.start(program)
        await self._require([name], _INFRASTRUCTURE_START_SECONDS)

    def _server(self, plan: topology.ServerPlan) -> Program:
        environment = topology.environment_of(
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
            command=lambda: processes.wrapped(topology.command(plan)),
            environment=environment,
            log=self._folder.log_of(plan.name),
            ready=ready,
        )

    async def _start_servers(self, plans: list[topology.ServerPlan]) -> None:
        for plan in plans:
            await self._supervisor.start(self._server(plan))
        await self._require([plan.name for plan in plans], _SERVERS_START_SECONDS)

    async def _require(self, names: list[str], seconds: float) -> None:
        silent = await self._supervisor.wait_ready(names, seconds)
        if silent:
            told = [self._why(name) for name in silent]
            raise StartFailed("no answer from " + "\n".join(told))

    def _why(self, name: str) -> str:
        log = self._folder.logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        tail = "\n".join(f"    {line[:_LOG_LINE_LENGTH]}" for line in lines[-_LOG_TAIL_LINES:])
        return f"{name} (its log is {log}):\n{tail}"

    def _record(self, running: Mapping[str, Identity]) -> None:
        self._folder.record(running)
        if self._complete:
            self._write_mesh_file(running)

    def _write_mesh_file(self, running: Mapping[str, Identity]) -> None:
        served = topology.endpoints(self._settings)
        elements = {plan.element_id for plan in topology.ELEMENTS}
        others = {name: address for name, address in served.items() if name not in elements}
        document = {
            "endpoints": {**others, "storage": {name: served[name] for name in sorted(elements)}},
            "client_id": self.account.client_id,
            "client_secret": self.account.client_secret,
            "database_url": self._database_url,
            "redis_url": self._redis_url,
            "data_dir": str(self._settings.data_dir),
            "processes": {name: identity.pid for name, identity in running.items()},
        }
        write_private(self._folder.mesh_file, json.dumps(document, indent=2) + "\n")


def require_free_ports(ports: Mapping[int, str]) -> None:
    """Check that nobody listens where the servers will.

    Raises:
        StartFailed: naming the port, what it is for, and the way out.
    """
    for port, name in ports.items():
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as taken:
                raise StartFailed(
                    f"port {port} ({name}) is in use ({taken.strerror}): stop what listens "
                    "there, or set ARTSTORE_PORT_OFFSET to move all ports of this mesh"
                ) from None

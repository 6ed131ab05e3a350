"""What the mesh consists of and what each server is told: the one place that says so."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch import environment
from launch.accounts import Account
from launch.tls import MeshTls, without_tls
from mesh.postgres.urls import database_name, with_database

DATABASE = "artstore"
DEFAULT_CAPACITY_BYTES = 100 * 2**30
METRICS_PORT_DISTANCE = 1000
HIGHEST_PORT = 65535


class TopologyError(ValueError):
    """A setting of the launcher is wrong; the message names key and value."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One server of the mesh, before any setting is applied.

    `account` is the id of the server's own account; `service` the one that must be SERVING before
    the mesh counts as up.
    """

    name: str
    module: str
    port: int
    account: str
    service: str


@dataclass(frozen=True, slots=True)
class ElementPlan:
    """A storage element: its mode at first start, and its place in the filling order."""

    element_id: str
    mode: str
    priority: int
    port: int

    @property
    def number(self) -> str:
        """The NN of se-NN."""
        return self.element_id.removeprefix("se-")


ELEMENTS = (
    ElementPlan("se-01", "edit", 100, 8010),
    ElementPlan("se-02", "edit", 200, 8011),
    ElementPlan("se-03", "rw", 300, 8012),
)
SERVERS = (
    ServerPlan("admin", "admin_server", 8000, "admin-server", "TokenService"),
    *(
        ServerPlan(
            plan.element_id,
            "storage_server",
            plan.port,
            f"storage-{plan.element_id}",
            "StorageService",
        )
        for plan in ELEMENTS
    ),
    ServerPlan("ingest", "ingest_server", 8020, "ingest-server", "IngestService"),
    ServerPlan("query", "query_server", 8030, "query-server", "QueryService"),
)


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """What the launcher itself reads from the environment."""

    data_dir: Path
    port_offset: int
    restart: bool
    database_url: str
    redis_url: str
    s3_endpoint_url: str
    s3_bucket: str
    tls: MeshTls
    environment: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> LaunchSettings:
        """Read and check the variables; an empty one is an unset one.

        Raises:
            TopologyError: one of them is wrong.
        """
        data_dir = Path(environment.get("ARTSTORE_DATA_DIR") or ".artstore").absolute()
        highest = HIGHEST_PORT - METRICS_PORT_DISTANCE - max(plan.port for plan in SERVERS)
        s3_endpoint_url = environment.get("ARTSTORE_S3_ENDPOINT_URL", "")
        s3_bucket = environment.get("ARTSTORE_S3_BUCKET", "")
        if bool(s3_endpoint_url) != bool(s3_bucket):
            raise TopologyError(
                "ARTSTORE_S3_ENDPOINT_URL and ARTSTORE_S3_BUCKET are set together or not at all"
            )
        for plan in ELEMENTS:
            _whole_number(environment, capacity_variable(plan), DEFAULT_CAPACITY_BYTES, 2**62)
        own_tls = _whole_number(environment, "ARTSTORE_TLS", 0, 1) == 1
        try:
            tls = MeshTls.read(environment, data_dir / "tls" if own_tls else None)
        except ValueError as refused:
            raise TopologyError(str(refused)) from refused
        return cls(
            data_dir=data_dir,
            port_offset=_whole_number(environment, "ARTSTORE_PORT_OFFSET", 0, highest),
            restart=_whole_number(environment, "ARTSTORE_RESTART", 1, 1) == 1,
            database_url=_named_database(environment.get("ARTSTORE_DATABASE_URL", "")),
            redis_url=environment.get("ARTSTORE_REDIS_URL", ""),
            s3_endpoint_url=s3_endpoint_url,
            s3_bucket=s3_bucket,
            tls=tls,
            environment=dict(environment),
        )


def _named_database(url: str) -> str:
    return url if not url or database_name(url) else with_database(url, DATABASE)


def _whole_number(environment: Mapping[str, str], key: str, default: int, highest: int) -> int:
    text = environment.get(key, "") or str(default)
    if not text.isascii() or not text.isdigit() or int(text) > highest:
        raise TopologyError(f"{key}={text!r}: a whole number from 0 to {highest} is needed")
    return int(text)


def capacity_variable(plan: ElementPlan) -> str:
    """Return the variable that sets an element's capacity, ARTSTORE_SE_01_CAPACITY_BYTES."""
    return f"ARTSTORE_SE_{plan.number}_CAPACITY_BYTES"


def endpoints(settings: LaunchSettings) -> dict[str, str]:
    """Return host:port of each server by its name."""
    return {plan.name: f"127.0.0.1:{plan.port + settings.port_offset}" for plan in SERVERS}


def server_databases(settings: LaunchSettings) -> list[str]:
    """Return the names of query's and admin's databases, beside that of ARTSTORE_DATABASE_URL."""
    beside = database_name(settings.database_url) or DATABASE
    return [
        settings.environment.get(f"ARTSTORE_{server}_DATABASE") or f"{beside}_{server.lower()}"
        for server in ("QUERY", "ADMIN")
    ]


def ports(settings: LaunchSettings) -> dict[int, str]:
    """Return every port the servers will listen on, with what listens there."""
    served = {plan.port + settings.port_offset: plan.name for plan in SERVERS}
    metrics = {port + METRICS_PORT_DISTANCE: f"metrics of {name}" for port, name in served.items()}
    return served | metrics


def command(plan: ServerPlan) -> list[str]:
    """Return the command line of a server."""
    return [sys.executable, "-m", plan.module]


def imports() -> list[str]:
    """Return the modules that a server has imported by the time it answers."""
    servers = dict.fromkeys(plan.module for plan in SERVERS)
    # Revisions are run by a first start only, and importing what runs them is a third of it.
    return [*(f"{server}.app" for server in servers), "mesh.postgres.revisions"]


def environment_of_all(settings: LaunchSettings) -> dict[str, str]:
    """Return what every server is told of the user's environment."""
    kept = environment.of_server(settings.environment, own_database=bool(settings.database_url))
    return {**without_tls(kept), "PYTHONUNBUFFERED": "1"}


def environment_of(
    plan: ServerPlan,
    settings: LaunchSettings,
    *,
    database_url: str,
    redis_url: str,
    accounts: Mapping[str, Account],
    credentials_file: Path,
) -> dict[str, str]:
    """Return the whole environment of one server.

    Args:
        plan: the server.
        settings: what the user set; every other ARTSTORE_ and AWS_ variable passes through.
        database_url: libpq URI of the database `artstore`.
        redis_url: URL of Valkey.
        accounts: accounts by client_id.
        credentials_file: the accounts as a file, which only admin is told of.
    """
    own = {
        **environment_of_all(settings),
        **settings.tls.of_server(plan.name),
        "ARTSTORE_DATABASE_URL": database_url,
        "ARTSTORE_REDIS_URL": redis_url,
        "ARTSTORE_DATA_DIR": str(settings.data_dir),
        "ARTSTORE_PORT": str(plan.port),
        "ARTSTORE_PORT_OFFSET": str(settings.port_offset),
        "ARTSTORE_ADMIN_ENDPOINT": endpoints(settings)["admin"],
        "ARTSTORE_CLIENT_ID": plan.account,
        "ARTSTORE_CLIENT_SECRET": accounts[plan.account].client_secret,
        "ARTSTORE_QUERY_DATABASE": server_databases(settings)[0],
        "ARTSTORE_ADMIN_DATABASE": server_databases(settings)[1],
    }
    if plan.name == "admin":
        own["ARTSTORE_BOOTSTRAP_FILE"] = str(credentials_file)
    for element in ELEMENTS:
        if element.element_id == plan.name:
            own |= {
                "ARTSTORE_ELEMENT_ID": element.element_id,
                "ARTSTORE_MODE": element.mode,
                "ARTSTORE_PRIORITY": str(element.priority),
                "ARTSTORE_CAPACITY_BYTES": settings.environment.get(capacity_variable(element))
                or str(DEFAULT_CAPACITY_BYTES),
            }
    return own

"""Real PostgreSQL, Valkey and S3 servers for tests, each a process that a test can freeze.

Every process dies with the test run, however that ends: it is stopped by its fixture, and the
kernel ends it when the run itself is killed (`launch/child.py`).
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from bench.peers.seaweedfs import SeaweedFS
from launch import environment, processes
from launch.postgres import SERVERS_ROLE, PostgresCluster
from launch.valkey import ValkeyInstance
from tests.support.waiting import wait_until

START_SECONDS = 30.0
# Files in memory, and how much of it must be free for the databases of a test run.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30


class ServiceProcess:
    """One server process. Start is lazy; `stop` ends it, `start` begins it again, same address."""

    name = "service"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the variables that the program is started with."""
        return environment.of_program(os.environ)

    def prepare(self) -> None:
        """Make what the first start needs."""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not started"
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.prepare()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self.environment(),
                start_new_session=True,
            )
        try:
            wait_until(self._answers_or_died, START_SECONDS, f"{self.name} answers")
        except BaseException:
            self.kill()
            raise

    def _answers_or_died(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log}")
        return self.answers()

    def freeze(self) -> None:
        """Stop the process and all its children by SIGSTOP: it accepts and never answers."""
        freeze_family(self.pid)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        processes.signal_family(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the process in good order; harmless when it is not running."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(self.stop_signal)
        self.thaw()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process and all its children at once."""
        if self._process is None:
            return
        if self._process.poll() is None:
            processes.signal_family(self.pid, signal.SIGKILL)
        self._process.wait()

    def discard(self) -> None:
        """End the process, whatever its state, and delete its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


Service = TypeVar("Service", bound=ServiceProcess)


@contextmanager
def running(server: Service) -> Iterator[Service]:
    """A service that is started, and discarded at the end of the block, however that comes."""
    try:
        server.start()
        yield server
    finally:
        server.discard()


class PostgresProcess(ServiceProcess):
    """PostgreSQL in a folder. `url` is the libpq URI of its database `postgres`, by TCP."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # A test kills processes, never the machine, so nothing is won by waiting for the disk.
        self.cluster = PostgresCluster(
            folder / "data",
            port=processes.free_port(),
            password="for tests only",
            settings={
                "fsync": "off",
                "full_page_writes": "off",
                "shared_buffers": "128MB",
                "max_wal_size": "256MB",
            },
        )
        self._dropping = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drop database")
        self._dropped: list[Future[None]] = []

    @property
    def url(self) -> str:
        return self.cluster.url()

    def database_url(self, database: str) -> str:
        """Return the libpq URI of one database, by TCP."""
        return self.cluster.url(database)

    def prepare(self) -> None:
        if not self.cluster.folder.exists():
            copy_cluster(self.cluster.folder)
        self.cluster.prepare(durable=False)

    def command(self) -> list[str]:
        return self.cluster.command()

    def answers(self) -> bool:
        return self.cluster.answers()

    def start(self) -> None:
        super().start()
        self.cluster.admit_servers()
        # Tests work in it as in any other.
        self.cluster.psql(f"alter database postgres owner to {SERVERS_ROLE}")

    def create_database(self) -> str:
        """Make a database with a name of its own and return its URI."""
        name = f"test_{secrets.token_hex(4)}"
        # The files of an empty database are copied, not told page by page to the log.
        self.cluster.psql(f"create database {name} owner {SERVERS_ROLE} strategy file_copy")
        return self.database_url(name)

    def drop_database(self, url: str) -> None:
        """Drop the database of `create_database` and those whose names begin with its name.

        In a thread: a drop waits for every backend, and one that waits in mid-handshake for a
        client of this process would wait for the event loop that a fixture holds up.
        """
        self._dropped.append(self._dropping.submit(self._drop, url))

    def _drop(self, url: str) -> None:
        prefix = url.rpartition("/")[2]
        found = self.cluster.psql(
            f"select datname from pg_database where starts_with(datname, '{prefix}')"
        )
        for name in found.split():
            self.cluster.psql(f'drop database if exists "{name}" with (force)')

    def discard(self) -> None:
        self._dropping.shutdown(cancel_futures=True)
        for dropped in self._dropped:
            if not dropped.cancelled():
                dropped.result()
        # An immediate shutdown lets the postmaster reap its children, which a SIGKILL does not.
        self.stop_signal = signal.SIGQUIT
        self.stop()
        super().discard()
        self.cluster.remove()


def copy_cluster(folder: Path) -> None:
    """Make `folder` a cluster that was never started: a copy takes a fifth of an initdb."""
    subprocess.run(["cp", "-a", _fresh_cluster(), folder], check=True)


@cache
def _fresh_cluster() -> Path:
    """A cluster that was never started, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="artstore-pg-", dir=folder_of_databases()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    cluster = PostgresCluster(folder / "fresh", port=0, password="")
    cluster.prepare(durable=False)
    shutil.rmtree(cluster.socket_folder, ignore_errors=True)
    return cluster.folder


def folder_of_databases() -> str | None:
    """Where PostgreSQL's files cost least, to be given to `tempfile`: None is its own choice."""
    try:
        return str(MEMORY) if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES else None
    except OSError:
        return None


class ValkeyProcess(ServiceProcess):
    """Valkey without a disk. `url` is its redis:// URL."""

    name = "Valkey"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.instance = ValkeyInstance(
            folder / "data", port=processes.free_port(), password="tests", persistent=False
        )

    @property
    def url(self) -> str:
        return self.instance.url

    def prepare(self) -> None:
        self.instance.prepare()

    def command(self) -> list[str]:
        return self.instance.command()

    def answers(self) -> bool:
        return self.instance.answers()

    def flush(self) -> None:
        """Forget everything, scripts too."""
        self.instance.call("SCRIPT", "FLUSH")
        self.instance.call("FLUSHALL")


@dataclass(frozen=True, slots=True)
class S3Account:
    """What a client needs to reach one bucket."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    region: str = "us-east-1"

    def environment(self) -> dict[str, str]:
        """Return the variables that put an ArtStore element on this bucket."""
        return {
            "ARTSTORE_S3_ENDPOINT_URL": self.endpoint_url,
            "ARTSTORE_S3_BUCKET": self.bucket,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }


class S3Service(ServiceProcess):
    """An S3 server with one account, which may make buckets."""

    access_key = "artstore-tests"
    secret_key = "artstore-tests-secret"

    @property
    def endpoint_url(self) -> str:
        raise NotImplementedError

    def client(self) -> Any:
        """Return a blocking boto3 client, for setting up and looking at what is stored."""
        import boto3
        from botocore.config import Config
        from botocore.handlers import add_expect_header

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"max_attempts": 1},
            ),
        )
        # After an empty body, for which no server says "100 Continue", its next PUT hangs.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    _kept = cached_property(lambda self: self.client())

    def create_bucket(self) -> S3Account:
        """Make a bucket with a name of its own."""
        bucket = f"test-{secrets.token_hex(4)}"
        self._kept.create_bucket(Bucket=bucket)
        return S3Account(self.endpoint_url, self.access_key, self.secret_key, bucket)


class S3Process(S3Service):
    """SeaweedFS, which honours conditional PUT."""

    name = "SeaweedFS"
    # Told to end in good order, its filer waits for its volume server, which has ended already.
    stop_signal = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = SeaweedFS(folder, self.access_key, self.secret_key)

    @property
    def endpoint_url(self) -> str:
        return f"http://{self._server.address}"

    def prepare(self) -> None:
        self._server.prepare()

    def command(self) -> list[str]:
        return processes.wrapped(self._server.command(), death_signal=signal.SIGKILL)

    def answers(self) -> bool:
        return self._server.answers()

    def create_bucket(self) -> S3Account:
        account = super().create_bucket()
        self._server.grow(account.bucket)
        return account

    def mend(self) -> None:
        """Let it run again, whatever a test has done to it."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
        else:
            self.start()

    def discard(self) -> None:
        super().discard()
        self._server.remove()


class RcloneProcess(S3Service):
    """`rclone serve s3` on a folder, which ignores conditional PUT.

    Buckets are folders of `root`, objects are files. A PUT that is cut off deletes the object.
    """

    name = "rclone serve s3"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = processes.free_port()
        self.root = folder / "buckets"

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self.root.mkdir(exist_ok=True)

    def command(self) -> list[str]:
        from rclone_api import BINARY_PATH

        return processes.wrapped(
            [
                str(BINARY_PATH), "serve", "s3", str(self.root),
                "--addr", f"127.0.0.1:{self.port}",
                "--auth-key", f"{self.access_key},{self.secret_key}",
                "--config", "/dev/null",
                "--dir-cache-time", "1ms",
            ]
        )  # fmt: skip

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint_url, timeout=1).close()
        except OSError as error:
            return isinstance(error, urllib.error.HTTPError)
        return True


def freeze_family(pid: int) -> None:
    """SIGSTOP a process and its descendants, and wait until each of their threads stands still.

    The signal is on its way when `kill` returns; a thread on another core may answer meanwhile.
    """
    processes.signal_family(pid, signal.SIGSTOP)
    members = [member.pid for member in processes.family(pid)]
    wait_until(lambda: all(map(_stands_still, members)), START_SECONDS, f"{pid} stands still")


def _stands_still(pid: int) -> bool:
    states = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            # The state follows the name, which may contain anything.
            states.add(stat.read_text().rpartition(")")[2].split()[0])
    return states <= {"T", "Z"}


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any ArtStore or AWS setting."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ARTSTORE_", "AWS_"))
    }

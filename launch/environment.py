"""What of a user's shell reaches the processes of the mesh.

A shell is set up for other programs: proxies for the web, PG variables for a database at work,
PYTHON variables for another project. What would turn a connection on this machine into one to
somewhere else, or a start into none, stays outside.
"""

from __future__ import annotations

from collections.abc import Mapping

# Programs that are not ours need these and nothing else: where to find libraries, what time it is.
_KEPT_BY_PROGRAMS = ("PATH", "TZ", "TZDIR", "TMPDIR")
_KEPT_PREFIXES = ("LD_", "DYLD_")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY")
# They end a program, or make it wait, when it is not the one they were set for.
_PYTHON = (
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONIOENCODING",
    "PYTHONPLATLIBDIR",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
)


def of_program(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of PostgreSQL's and Valkey's programs.

    Valkey does not start with a locale that the machine has not, initdb and postgres heed PGDATA,
    PGCLIENTENCODING and their like. All they need is on their command lines.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT_BY_PROGRAMS or name.startswith(_KEPT_PREFIXES)
    }
    return {**kept, "LC_ALL": "C"}


def of_server(environment: Mapping[str, str], *, own_database: bool) -> dict[str, str]:
    """Return what the servers get of the user's environment.

    Args:
        environment: the user's.
        own_database: the user named a PostgreSQL, so that libpq's variables (PGSSLMODE,
            PGPASSFILE ...) are meant for it; the embedded one is reached without any of them.
    """
    kept = {name: value for name, value in environment.items() if name not in _PYTHON}
    if not own_database:
        kept = {name: value for name, value in kept.items() if not is_libpq(name)}
        # Also keeps asyncpg from looking for certificates in a home that may not be readable.
        kept["PGSSLMODE"] = "disable"
    # Whoever knocks without TLS would fill the log, a line each; read when gRPC is imported.
    kept.setdefault("GRPC_VERBOSITY", "ERROR")
    # UTF-8 whatever the locale is: names and paths are not ASCII, and locales may not exist.
    return {**kept, **without_proxy_on_loopback(environment), "PYTHONUTF8": "1"}


def is_libpq(name: str) -> bool:
    """Say whether a variable is one of libpq's: PGHOST, PGSSLMODE, PGSERVICE ..."""
    return name.startswith("PG") and name.isalpha()


def without_proxy_on_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `no_proxy` in both spellings with this machine added to what it says."""
    told = next((environment[name] for name in _NO_PROXY if environment.get(name)), "")
    hosts = [host for part in told.split(",") if (host := part.strip())]
    if hosts != ["*"]:
        hosts += [host for host in _LOOPBACK if host not in hosts]
    return dict.fromkeys(_NO_PROXY, ",".join(hosts))

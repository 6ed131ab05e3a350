"""What a container may, and how much it may take: as the engine enforces it."""

from __future__ import annotations

import pytest

from launch import topology
from tests.containers.composed import DEFAULT_CORES, ComposedMesh, docker

DATABASES = ("postgres", "valkey", "s3")
SERVERS = tuple(plan.name for plan in topology.SERVERS)
GIB = 2**30


@pytest.mark.parametrize("service", [*SERVERS, *DATABASES])
def test_a_container_is_bounded_by_the_engine(composed: ComposedMesh, service: str) -> None:
    told = composed.inspect(service)["HostConfig"]
    assert told["Memory"] == (2 * GIB if service in DATABASES else GIB)
    cores = int(composed.settings.get("ARTSTORE_CPUS", DEFAULT_CORES))
    assert told["NanoCpus"] == cores * 1_000_000_000
    assert told["PidsLimit"] == (1024 if service in DATABASES else 512)
    assert told["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "10m", "max-file": "5"},
    }
    assert told["RestartPolicy"]["Name"] == "unless-stopped"


@pytest.mark.parametrize("service", [*SERVERS, *DATABASES])
def test_a_process_in_a_container_has_no_rights_of_root(
    composed: ComposedMesh, service: str
) -> None:
    status = composed.execute(service, "cat", "/proc/1/status").stdout.decode()
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert told["Uid"].split()[0] != "0"
    assert {told[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert told["NoNewPrivs"] == "1"
    for folder in ("/", "/usr", "/etc"):
        refused = composed.execute(service, "touch", f"{folder}/written", check=False)
        assert refused.returncode != 0
    assert composed.inspect(service)["HostConfig"]["ReadonlyRootfs"] is True


def test_nothing_is_published_but_the_ports_of_the_servers(composed: ComposedMesh) -> None:
    published = {}
    for service in composed.services():
        for port, places in composed.inspect(service)["NetworkSettings"]["Ports"].items():
            for place in places or ():
                published[service] = (port, place["HostIp"], place["HostPort"])
    assert published == {
        plan.name: (f"{plan.port}/tcp", composed.address.published, str(plan.port))
        for plan in topology.SERVERS
    }


def test_no_secret_stands_in_a_command_line(composed: ComposedMesh) -> None:
    secrets = [
        value
        for name, value in composed.settings.items()
        if name.endswith(("_SECRET", "_PASSWORD"))
    ]
    assert len(secrets) >= 10
    for service in composed.services():
        told = composed.inspect(service)
        lines = [*told["Config"]["Cmd"], *(told["Config"]["Entrypoint"] or ()), *told["Args"]]
        lines.append(docker("top", composed.container(service), "-eo", "pid,args").stdout.decode())
        assert not [secret for secret in secrets if secret in "\n".join(lines)], service


def test_no_server_knows_more_than_it_needs(composed: ComposedMesh) -> None:
    knows = {
        "ARTSTORE_S3_SECRET": {"s3", "se-01", "se-02", "se-03"},
        "ARTSTORE_POSTGRES_PASSWORD": {"postgres"},
        "ARTSTORE_SERVERS_PASSWORD": {"postgres", "admin", "query", "se-01", "se-02", "se-03"},
        "ARTSTORE_VALKEY_PASSWORD": {"valkey", *SERVERS},
        "ARTSTORE_ADMIN_SECRET": {"admin"},
        "ARTSTORE_SE_01_SECRET": {"admin", "se-01"},
        "ARTSTORE_QUERY_SECRET": {"admin", "query"},
    }
    given = {name: " ".join(composed.environment(name).values()) for name in composed.services()}
    for secret, who in knows.items():
        value = composed.settings[secret]
        assert {name for name, text in given.items() if value in text} == who, secret

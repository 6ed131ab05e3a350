"""What the launcher reads, refuses, and tells each server."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch import accounts, topology
from launch.topology import LaunchSettings, TopologyError


def test_an_empty_variable_is_an_unset_one() -> None:
    names = (
        "DATA_DIR",
        "PORT_OFFSET",
        "RESTART",
        "DATABASE_URL",
        "REDIS_URL",
        "SE_01_CAPACITY_BYTES",
    )
    settings = LaunchSettings.read({f"ARTSTORE_{name}": "" for name in names})
    assert settings.data_dir == Path(".artstore").absolute()
    assert settings.port_offset == 0
    assert settings.restart
    assert settings.database_url == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARTSTORE_PORT_OFFSET", "-1"),
        ("ARTSTORE_PORT_OFFSET", "ten"),
        ("ARTSTORE_PORT_OFFSET", "60000"),
        ("ARTSTORE_RESTART", "2"),
        ("ARTSTORE_SE_03_CAPACITY_BYTES", "1e9"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(variable: str, value: str) -> None:
    with pytest.raises(TopologyError) as refused:
        LaunchSettings.read({variable: value})
    assert f"{variable}={value!r}" in str(refused.value)


@pytest.mark.parametrize("variable", ["ARTSTORE_S3_ENDPOINT_URL", "ARTSTORE_S3_BUCKET"])
def test_endpoint_and_bucket_go_together(variable: str) -> None:
    with pytest.raises(TopologyError, match="together"):
        LaunchSettings.read({variable: "x"})


def test_a_server_url_without_a_database_means_artstore() -> None:
    settings = LaunchSettings.read({"ARTSTORE_DATABASE_URL": "postgresql://u:p@host:1"})
    assert settings.database_url == "postgresql://u:p@host:1/artstore"


def test_ports_of_servers_and_metrics_do_not_meet() -> None:
    ports = topology.ports(LaunchSettings.read({"ARTSTORE_PORT_OFFSET": "500"}))
    assert len(ports) == 2 * len(topology.SERVERS)
    assert ports[8510] == "se-01"


def test_only_admin_is_told_of_the_credentials(tmp_path: Path) -> None:
    settings = LaunchSettings.read({"ARTSTORE_LOG_LEVEL": "debug", "HOME": "/home/anna"})
    known = accounts.load_or_make(
        tmp_path / "credentials.json", [plan.account for plan in topology.SERVERS]
    )
    for plan in topology.SERVERS:
        told = topology.environment_of(
            plan,
            settings,
            database_url="postgresql://u@h/artstore",
            redis_url="redis://h",
            accounts=known,
            credentials_file=tmp_path / "credentials.json",
        )
        assert told["ARTSTORE_LOG_LEVEL"] == "debug"
        assert told["HOME"] == "/home/anna"
        assert ("ARTSTORE_BOOTSTRAP_FILE" in told) == (plan.name == "admin")
        secrets = [account.client_secret for account in known.values()]
        assert [value for value in told.values() if value in secrets] == [
            known[plan.account].client_secret
        ]


def test_a_mesh_on_tls_has_a_certificate_for_each_server_and_one_for_callers() -> None:
    settings = LaunchSettings.read({"ARTSTORE_DATA_DIR": "/data", "ARTSTORE_TLS": "1"})
    told = settings.tls.of_server("se-01")
    assert told["ARTSTORE_TLS_CERT_FILE"] == "/data/tls/se-01/cert.pem"
    assert told["ARTSTORE_TLS_CA_FILE"] == "/data/tls/se-01/ca.pem"
    assert settings.tls.of_callers() == {
        "ca_file": "/data/tls/client/ca.pem",
        "cert_file": "/data/tls/client/cert.pem",
        "key_file": "/data/tls/client/key.pem",
    }


def test_certificates_of_the_user_are_used_instead_of_own_ones() -> None:
    theirs = {f"ARTSTORE_TLS_{name}_FILE": f"/tls/{name}" for name in ("CERT", "KEY", "CA")}
    settings = LaunchSettings.read({**theirs, "ARTSTORE_TLS": "1"})
    assert settings.tls.of_server("se-01") == theirs
    assert settings.tls.of_callers() == {"ca_file": "/tls/CA"}


def test_roots_that_the_shell_has_for_another_mesh_make_none_of_tls() -> None:
    settings = LaunchSettings.read({"ARTSTORE_TLS_CA_FILE": "/elsewhere.pem"})
    assert "ARTSTORE_TLS_CA_FILE" not in topology.environment_of_all(settings)
    assert settings.tls.of_server("se-01") == {}
    assert settings.tls.of_callers() is None
    assert settings.tls.settings().tls_ca_file is None


@pytest.mark.parametrize(
    ("variable", "lacks"),
    [
        ("ARTSTORE_TLS_CERT_FILE", "ARTSTORE_TLS_KEY_FILE"),
        ("ARTSTORE_TLS_KEY_FILE", "ARTSTORE_TLS_CERT_FILE"),
        ("ARTSTORE_TLS_CLIENT_CA_FILE", "ARTSTORE_TLS=1"),
    ],
)
def test_half_of_what_tls_needs_is_refused(variable: str, lacks: str) -> None:
    with pytest.raises(TopologyError, match=lacks):
        LaunchSettings.read({variable: "/x.pem"})

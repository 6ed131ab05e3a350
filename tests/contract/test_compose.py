"""compose.yaml is a valid Compose file and runs the same mesh as `make run`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from launch import topology

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"


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


def test_every_secret_stands_in_the_example(compose: dict[str, Any]) -> None:
    needed = set(re.findall(r"\$\{(\w+):\?\}", COMPOSE.read_text()))
    example = (ROOT / "compose.env.example").read_text()
    assert needed == set(re.findall(r"^(\w+)=", example, re.MULTILINE))

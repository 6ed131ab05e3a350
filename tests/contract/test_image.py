"""What holds of the image without a Docker Engine: its pins, its context, its names."""

from __future__ import annotations

import re

import yaml

from mesh.settings import ENV_PREFIX, MeshSettings
from tests.support.locks import PROJECT, ROOT, VERSION

DOCKERFILE = (ROOT / "Dockerfile").read_text()
HEALTHY = ROOT / "deploy" / "image" / "healthy.c"


def test_packages_come_from_the_lock_files_alone() -> None:
    installs = re.findall(r"pip [^&]*?\binstall\b[^&]*", DOCKERFILE)
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps" in install
        assert "--require-hashes" in install or "/wheel/*" in install
    assert "--no-build-isolation" in DOCKERFILE


def test_one_base_is_named_by_its_exact_version() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - set(stages)
    (base,) = bases
    name, _, digest = base.partition("@")
    assert re.fullmatch(r"debian:\d+\.\d+-slim", name)
    assert re.fullmatch(r"(sha256:[0-9a-f]{64})?", digest)
    assert f'base.name="{name}"' in DOCKERFILE


def test_a_builder_needs_no_registry_to_read_the_file() -> None:
    assert not DOCKERFILE.startswith("# syntax=")


def test_the_context_is_what_the_file_copies() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    for source in copied:
        assert any(source == known or source.startswith(f"{known}/") for known in let_in), source
    for known in let_in:
        assert any(source == known or source.startswith(f"{known}/") for source in copied), known


def test_the_packages_are_those_of_the_project_but_for_the_launcher() -> None:
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {pattern.rstrip("*") for pattern in patterns} - {"launch", "artstore"}
    assert packages <= set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))


def test_the_image_has_the_version_of_the_project() -> None:
    assert f'image.version="{VERSION}"' in DOCKERFILE
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    images = {service["image"] for service in services.values()}
    assert any(f"artstore:{VERSION}" in image for image in images)


def test_the_health_check_reads_settings_that_servers_have() -> None:
    names = set(re.findall(rf'"{ENV_PREFIX}(\w+)"', HEALTHY.read_text()))
    tls = {"TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"}
    assert names == {"PORT", "PORT_OFFSET", "HOST"} | tls
    assert {name.lower() for name in names} <= set(MeshSettings.model_fields)
    assert re.search(r'^HEALTHCHECK .* CMD \["artstore-healthy"\]$', DOCKERFILE, re.MULTILINE)

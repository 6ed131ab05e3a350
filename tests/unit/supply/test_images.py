"""Digests of images: written when a registry gives all of them, else nothing is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from supply import images
from tests.support.locks import ROOT

TOKEN = "for anybody"
DIGESTS = {"a/web:1.2": f"sha256:{'1' * 64}", "db:18.6-x": f"sha256:{'2' * 64}"}


class Registry(BaseHTTPRequestHandler):
    """One that wants a token, as most do, which anybody gets."""

    def do_HEAD(self) -> None:
        path, _, version = self.path.removeprefix("/v2/").partition("/manifests/")
        digest = DIGESTS.get(f"{path}:{version}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send_response(401)
            realm = f"http://127.0.0.1:{self.server.server_address[1]}/token"
            scope = f"repository:{path}:pull"
            self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",scope="{scope}"')
        elif digest is None:
            self.send_response(404)
        else:
            assert "image.index" in self.headers["Accept"]
            self.send_response(200)
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()

    def do_GET(self) -> None:
        assert "scope=repository%3A" in self.path
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"token": TOKEN}).encode())

    def log_message(self, *args: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def write(root: Path, first: str, second: str) -> dict[str, str]:
    (root / "Dockerfile").write_text(
        f'FROM {first} AS one\nLABEL base.name="{first}"\nFROM one AS two\nFROM {first}\n'
    )
    (root / "compose.yaml").write_text(
        f"services:\n  own:\n    image: ${{IMAGE:-own:0.1.0}}\n  db:\n    image: {second}\n"
    )
    return {file.name: file.read_text() for file in root.iterdir()}


def test_each_image_gets_the_digest_of_its_version_and_of_a_new_one_too(
    registry: str, tmp_path: Path
) -> None:
    web, db = (f"{registry}/{name}" for name in DIGESTS)
    write(tmp_path, f"{web}@sha256:{'9' * 64}", db)
    images.pin(tmp_path)
    text = (tmp_path / "Dockerfile").read_text()
    assert text.count(f"FROM {web}@{DIGESTS['a/web:1.2']}") == 2
    assert "FROM one AS two" in text
    composed = yaml.safe_load((tmp_path / "compose.yaml").read_text())["services"]
    assert composed["db"]["image"] == f"{db}@{DIGESTS['db:18.6-x']}"
    assert composed["own"]["image"] == "${IMAGE:-own:0.1.0}"
    again = {file.name: file.read_text() for file in tmp_path.iterdir()}
    images.pin(tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == again


@pytest.mark.parametrize("other", ["nowhere.invalid/db:18.6", "{registry}/unheard-of:1.0"])
def test_nothing_changes_when_one_registry_has_no_answer(
    registry: str, tmp_path: Path, other: str
) -> None:
    name = other.format(registry=registry)
    before = write(tmp_path, f"{registry}/a/web:1.2", name)
    with pytest.raises(images.NoDigest, match=name):
        images.pin(tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "url", "repository"),
    [
        ("debian:12.12-slim", "https://registry-1.docker.io", "library/debian"),
        ("docker.io/valkey/valkey:9.1.2", "https://registry-1.docker.io", "valkey/valkey"),
        ("quay.io/a/b:1.0", "https://quay.io", "a/b"),
        ("localhost:5000/b:1.0", "http://localhost:5000", "b"),
    ],
)
def test_image_without_a_registry_is_docker_s(name: str, url: str, repository: str) -> None:
    image = images.Image.of(name)
    assert (image.origin, image.repository) == (url, repository)


def test_all_images_of_the_project_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in images.files(ROOT):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(images, "digest_of", lambda name: DIGESTS["a/web:1.2"])
    named = images.pin(tmp_path)
    services = yaml.safe_load((tmp_path / "compose.yaml").read_text())["services"].values()
    foreign = {one["image"] for one in services if not one["image"].startswith("${")}
    assert all(image.endswith(DIGESTS["a/web:1.2"]) for image in foreign)
    assert {image.partition("@")[0] for image in foreign} < named.keys()
    assert "debian" in {name.partition(":")[0] for name in named}

"""Where endpoints and credentials come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artstore_client import ConfigurationError
from artstore_client.settings import Endpoints, TlsFiles, load

MESH = {
    "endpoints": {
        "admin": "m:8000",
        "ingest": "m:8020",
        "query": "m:8030",
        "storage": {"se-01": "m:8010"},
    },
    "client_id": "first",
    "client_secret": "from-file",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".artstore").mkdir()
    (tmp_path / ".artstore" / "mesh.json").write_text(json.dumps(MESH))
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    return below


def test_mesh_file_is_found_upward(folder: Path) -> None:
    found = load(environment={}, start_folder=folder)
    assert found.endpoints.ingest == "m:8020"
    assert found.endpoints.storage == {"se-01": "m:8010"}
    assert (found.client_id, found.client_secret) == ("first", "from-file")


def test_environment_beats_the_mesh_file_that_it_names_one_by_one(folder: Path) -> None:
    environment = {
        "ARTSTORE_MESH": str(folder.parent.parent / ".artstore" / "mesh.json"),
        "ARTSTORE_INGEST_ENDPOINT": "e:1",
        "ARTSTORE_STORAGE_ENDPOINTS": "se-01=e:2, se-02=e:3,",
        "ARTSTORE_CLIENT_SECRET": "from-environment",
        "ARTSTORE_TOKEN": "t",
    }
    found = load(environment=environment, start_folder=folder)
    assert found.endpoints.admin == "m:8000"
    assert found.endpoints.ingest == "e:1"
    assert found.endpoints.storage == {"se-01": "e:2", "se-02": "e:3"}
    assert (found.client_id, found.client_secret) == ("first", "from-environment")
    assert found.token == "t"


@pytest.mark.parametrize(
    "secret", [{"ARTSTORE_CLIENT_ID": "me", "ARTSTORE_CLIENT_SECRET": "s"}, {"ARTSTORE_TOKEN": "t"}]
)
def test_secrets_of_the_environment_are_not_for_servers_of_a_file_that_is_found(
    folder: Path, secret: dict[str, str]
) -> None:
    found = load(environment=secret, start_folder=folder)
    assert found.endpoints == Endpoints()
    assert (found.client_id, found.client_secret) != ("first", "from-file")
    assert "ARTSTORE_MESH=" in found.unused
    assert next(iter(secret)) in found.unused


@pytest.mark.parametrize(
    "server",
    [
        {"ARTSTORE_ADMIN_ENDPOINT": "e:1"},
        {"ARTSTORE_QUERY_ENDPOINT": "e:1"},
        {"ARTSTORE_STORAGE_ENDPOINTS": "se-01=e:1"},
    ],
)
def test_the_secret_of_a_file_that_is_found_is_not_for_servers_of_the_environment(
    folder: Path, server: dict[str, str]
) -> None:
    found = load(environment=server, start_folder=folder)
    assert (found.client_id, found.client_secret) == ("", "")
    assert "m:8000" not in repr(found.endpoints)
    assert next(iter(server)) in found.unused


def test_argument_beats_the_environment(folder: Path) -> None:
    found = load(
        ingest="a:1",
        storage={"se-09": "a:2"},
        environment={
            "ARTSTORE_INGEST_ENDPOINT": "e:1",
            "ARTSTORE_STORAGE_ENDPOINTS": "se-01=e:2",
        },
        start_folder=folder,
    )
    assert found.endpoints.ingest == "a:1"
    assert found.endpoints.storage == {"se-09": "a:2"}


def test_named_mesh_file_beats_the_one_that_is_found(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"endpoints": {"admin": "o:1"}}))
    found = load(environment={"ARTSTORE_MESH": str(other)}, start_folder=folder)
    assert found.endpoints.admin == "o:1"
    assert found.client_id == ""


def test_nothing_known_is_no_error_until_it_is_needed(tmp_path: Path) -> None:
    assert load(environment={}, start_folder=tmp_path).endpoints.admin == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ("[]", "endpoints"),
        ('{"endpoints": 1}', "endpoints"),
    ],
)
def test_wrong_mesh_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: str | None, says: str
) -> None:
    path = tmp_path / "mesh.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=says) as caught:
        load(mesh_file=path, environment={})
    assert str(path) in caught.value.message


@pytest.mark.parametrize("text", ["se-01", "=host:1", "se-01=host"])
def test_wrong_storage_endpoints_name_the_variable_and_the_part(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="ARTSTORE_STORAGE_ENDPOINTS") as caught:
        load(environment={"ARTSTORE_STORAGE_ENDPOINTS": text}, start_folder=tmp_path)
    assert repr(text) in caught.value.message


def test_secrets_are_not_shown(folder: Path) -> None:
    shown = repr(load(token="hidden-token", environment={}, start_folder=folder))
    assert "hidden-token" not in shown
    assert "from-file" not in repr(load(environment={}, start_folder=folder))


def test_meshes_and_accounts_are_told_apart(folder: Path) -> None:
    ids = {
        load(environment={}, start_folder=folder).mesh_id,
        load(ingest="other:1", environment={}, start_folder=folder).mesh_id,
        load(client_id="other", environment={}, start_folder=folder).mesh_id,
    }
    assert len(ids) == 3


def test_token_from_a_file_goes_without_its_end_of_line(tmp_path: Path) -> None:
    found = load(environment={"ARTSTORE_TOKEN": " a.b.c\r\n"}, start_folder=tmp_path)
    assert found.token == "a.b.c"


@pytest.mark.parametrize("token", ["a\nb", "a\x1bb", "a\udcffb", "жетон"])
def test_token_that_can_not_be_sent_is_refused_and_not_shown(tmp_path: Path, token: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        load(environment={"ARTSTORE_TOKEN": token}, start_folder=tmp_path)
    assert "ARTSTORE_TOKEN" in str(told.value)
    assert token not in str(told.value)


def test_an_endpoint_may_be_several_servers(folder: Path) -> None:
    several = {"ARTSTORE_QUERY_ENDPOINT": "10.0.0.1:8030,10.0.0.2:8030"}
    assert load(environment=several, start_folder=folder).endpoints.query == (
        "10.0.0.1:8030,10.0.0.2:8030"
    )
    with pytest.raises(ConfigurationError, match="ARTSTORE_INGEST_ENDPOINT: 'one:1' is no address"):
        load(ingest="one:1,two:1", environment={}, start_folder=folder)


FILES = {"ca_file": "tls/ca.pem", "cert_file": "/own/cert.pem", "key_file": "/own/key.pem"}


def _with_tls(folder: Path, tls: object) -> Path:
    path = folder.parent.parent / ".artstore" / "mesh.json"
    path.write_text(json.dumps(MESH | {"tls": tls}))
    return path


def test_a_mesh_file_says_with_what_its_servers_are_verified(folder: Path) -> None:
    path = _with_tls(folder, FILES)
    assert load(environment={}, start_folder=folder).tls == TlsFiles(
        path.parent / "tls/ca.pem", Path("/own/cert.pem"), Path("/own/key.pem")
    )
    _with_tls(folder, {})
    assert load(environment={}, start_folder=folder).tls == TlsFiles()
    _with_tls(folder, [])
    with pytest.raises(ConfigurationError, match="`tls`"):
        load(environment={}, start_folder=folder)


def test_the_certificate_of_the_environment_is_shown_to_servers_of_the_environment(
    folder: Path,
) -> None:
    path = _with_tls(folder, {"ca_file": "/mesh/ca.pem"})
    pair = {"ARTSTORE_TLS_CERT_FILE": "/my/cert.pem", "ARTSTORE_TLS_KEY_FILE": "/my/key.pem"}
    found = load(environment=pair, start_folder=folder)
    assert found.tls == TlsFiles(Path("/mesh/ca.pem"))
    named = load(environment=pair | {"ARTSTORE_MESH": str(path)})
    mine = (Path("/my/cert.pem"), Path("/my/key.pem"))
    assert named.tls == TlsFiles(Path("/mesh/ca.pem"), *mine)
    said = load(environment=pair | {"ARTSTORE_ADMIN_ENDPOINT": "e:1"}, start_folder=folder)
    assert said.tls == TlsFiles(None, *mine)


@pytest.mark.parametrize(
    ("environment", "tls"),
    [
        ({"ARTSTORE_ADMIN_ENDPOINT": "e:1"}, None),
        ({"ARTSTORE_ADMIN_ENDPOINT": "e:1", "ARTSTORE_TLS": "0"}, None),
        ({"ARTSTORE_ADMIN_ENDPOINT": "e:1", "ARTSTORE_TLS": "1"}, TlsFiles()),
        ({"ARTSTORE_ADMIN_ENDPOINT": "https://e:1/"}, TlsFiles()),
        ({"ARTSTORE_STORAGE_ENDPOINTS": "se-01=https://e:1"}, TlsFiles()),
        ({"ARTSTORE_TLS_CA_FILE": "/ca"}, TlsFiles(Path("/ca"))),
    ],
)
def test_connections_are_encrypted_when_a_server_or_a_root_file_says_so(
    tmp_path: Path, environment: dict[str, str], tls: TlsFiles | None
) -> None:
    found = load(environment=environment, start_folder=tmp_path)
    assert found.tls == tls
    assert found.endpoints.admin in ("", "e:1")
    assert found.endpoints.storage in ({}, {"se-01": "e:1"})


def test_a_client_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ARTSTORE_TLS_KEY_FILE"):
        load(environment={"ARTSTORE_TLS_CERT_FILE": "/c"}, start_folder=tmp_path)

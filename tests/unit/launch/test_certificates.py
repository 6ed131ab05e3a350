"""The certificates that a mesh makes for itself: when they are made, and when anew."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from launch import certificates
from launch.certificates import Certificates, CertificatesUnusable
from launch.tls import CLIENT

NAMES = ("admin", "se-01", CLIENT)


def content(made: Certificates) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in made.folder.rglob("*") if file.is_file()}


def named_in(made: Certificates, name: str) -> set[str]:
    found = x509.load_pem_x509_certificate(made.files_of(name)[0].read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    found = Certificates(tmp_path / "tls")
    assert found.make(NAMES, []) == ["the authority", *NAMES]
    return found


def test_each_server_has_one_for_its_name_and_this_machine(made: Certificates) -> None:
    assert named_in(made, "se-01") == {"se-01", "localhost", "127.0.0.1", "::1"}
    # Nobody can be a server by that of callers.
    assert named_in(made, CLIENT) == {CLIENT}
    for name in NAMES:
        context = ssl.create_default_context(cafile=str(made.ca_file))
        context.load_cert_chain(*made.files_of(name))


def test_nobody_else_reads_them(made: Certificates) -> None:
    for path in (made.folder, *made.folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_what_is_in_order_stays(made: Certificates) -> None:
    before = content(made)
    assert made.make(NAMES, []) == []
    assert content(made) == before


def test_another_name_makes_new_ones_of_the_same_authority(made: Certificates) -> None:
    authority = made.ca_file.read_bytes()
    assert made.make(NAMES, ["host.example", "10.0.0.5"]) == ["admin", "se-01"]
    assert made.ca_file.read_bytes() == authority
    assert named_in(made, "admin") >= {"host.example", "10.0.0.5"}


def test_the_names_of_the_setting_are_those_of_every_server(tmp_path: Path) -> None:
    certificates.make_own(tmp_path, {"ARTSTORE_TLS_NAMES": "host.example, 10.0.0.5"})
    for name in ("admin", "se-03", "ingest", "query"):
        assert named_in(Certificates(tmp_path), name) > {name, "host.example", "10.0.0.5"}


def test_servers_that_a_mesh_grew_by_have_theirs(tmp_path: Path) -> None:
    certificates.make_own(tmp_path, {})
    assert certificates.make_own(tmp_path, {}, servers=["se-04"]) == ["se-04"]
    assert "se-04" in named_in(Certificates(tmp_path), "se-04")


def test_one_that_ends_within_a_year_is_made_anew(
    made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_LEFT", datetime.timedelta(days=731))
    assert made.make(NAMES, []) == list(NAMES)


def test_one_without_its_key_or_of_another_authority_is_made_anew(
    made: Certificates, tmp_path: Path
) -> None:
    other = Certificates(tmp_path / "other")
    other.make(NAMES, [])
    made.files_of("admin")[1].write_bytes(other.files_of("admin")[1].read_bytes())
    for mine, theirs in zip(made.files_of(CLIENT), other.files_of(CLIENT), strict=True):
        mine.write_bytes(theirs.read_bytes())
    made.files_of("se-01")[0].write_text("nothing")
    assert made.make(NAMES, []) == list(NAMES)


def test_all_but_the_authority_are_made_anew_when_asked(made: Certificates) -> None:
    assert made.make(NAMES, [], renew=True) == list(NAMES)


def test_an_authority_that_lost_its_key_is_made_anew_with_all_it_issued(
    made: Certificates,
) -> None:
    (made.folder / "ca.key").unlink()
    assert made.make(NAMES, []) == ["the authority", *NAMES]


def test_what_is_no_name_is_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(CertificatesUnusable, match="ARTSTORE_TLS_NAMES"):
        Certificates(tmp_path).make(NAMES, ["no name"])

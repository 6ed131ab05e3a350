"""Which mesh.json counts when nobody named it: one that no other account can have put there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artstore_client import Client, ConfigurationError
from artstore_client.settings import load
from tests.support.strangers import STRANGER, as_root, as_stranger, shared_folder

UNKNOWN = "01a2232c-44a1-7af7-a4bf-eea0f5911fb4"


@pytest.fixture
def mesh() -> Iterator[Path]:
    """The mesh.json of a mesh of ours, with a folder below it."""
    with shared_folder() as folder:
        path = folder / ".artstore" / "mesh.json"
        path.parent.mkdir(mode=0o700)
        (folder / "below").mkdir()
        path.write_text(json.dumps({"endpoints": {"admin": "m:8000"}, "client_secret": "s"}))
        path.chmod(0o600)
        yield path


def admin_from(folder: Path) -> tuple[str, str]:
    """Admin as it is found from a folder, and what is said of a file that does not count."""
    found = load(environment={}, start_folder=folder)
    return found.endpoints.admin, found.unused


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_ours_counts(mesh: Path, mode: int) -> None:
    mesh.chmod(mode)
    assert admin_from(mesh.parent.parent / "below") == ("m:8000", "")


@as_root
@pytest.mark.parametrize("place", ["file", "folder"])
def test_one_of_another_account_does_not(mesh: Path, place: str) -> None:
    os.chown(mesh if place == "file" else mesh.parent, STRANGER, STRANGER)
    admin, unused = admin_from(mesh.parent.parent / "below")
    assert admin == ""
    assert f"uid {STRANGER}" in unused
    assert f"ARTSTORE_MESH={mesh}" in unused


@as_root
def test_ours_counts_for_an_account_whose_group_is_its_own(mesh: Path) -> None:
    for place in (mesh, mesh.parent):
        os.chown(place, STRANGER, STRANGER)
        place.chmod(0o770 if place.is_dir() else 0o660)

    def look() -> None:
        assert admin_from(mesh.parent.parent) == ("m:8000", "")

    as_stranger(look)


@pytest.mark.parametrize(
    ("place", "mode"), [("file", 0o602), ("folder", 0o707), ("folder", 0o1777)]
)
def test_one_that_others_can_write_to_does_not(mesh: Path, place: str, mode: int) -> None:
    (mesh if place == "file" else mesh.parent).chmod(mode)
    admin, unused = admin_from(mesh.parent.parent)
    assert admin == ""
    assert "can write to" in unused


@as_root
@pytest.mark.parametrize("mode", [0o660, 0o770])
def test_one_that_a_group_can_write_to_does_not(mesh: Path, mode: int) -> None:
    place = mesh if mode == 0o660 else mesh.parent
    os.chown(place, 0, STRANGER)
    place.chmod(mode)
    assert admin_from(mesh.parent.parent)[0] == ""


@as_root
@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_that_another_account_planted_leads_to_nothing(mesh: Path, linked: str) -> None:
    planted = mesh.parent.parent / "below" / ".artstore"
    if linked == "folder":
        planted.symlink_to(mesh.parent)
        os.chown(planted, STRANGER, STRANGER, follow_symlinks=False)
    else:
        planted.mkdir()
        (planted / "mesh.json").symlink_to(mesh)
        os.chown(planted / "mesh.json", STRANGER, STRANGER, follow_symlinks=False)
    admin, unused = admin_from(planted.parent)
    assert admin == ""
    assert str(planted / "mesh.json") in unused


def test_a_link_of_ours_leads_to_a_file_of_ours(mesh: Path) -> None:
    linked = mesh.parent.parent / "below" / ".artstore"
    linked.symlink_to(mesh.parent)
    assert admin_from(linked.parent)[0] == "m:8000"


@as_root
def test_a_link_of_ours_does_not_lead_to_a_file_of_another_account(mesh: Path) -> None:
    os.chown(mesh, STRANGER, STRANGER)
    linked = mesh.parent.parent / "below" / ".artstore"
    linked.symlink_to(mesh.parent)
    assert admin_from(linked.parent)[0] == ""


def test_a_nearer_one_that_does_not_count_is_not_passed_over_in_silence(mesh: Path) -> None:
    near = mesh.parent.parent / "below" / ".artstore"
    near.mkdir()
    (near / "mesh.json").write_text(json.dumps({"endpoints": {"admin": "evil:1"}}))
    (near / "mesh.json").chmod(0o666)
    admin, unused = admin_from(near.parent)
    assert admin == ""
    assert str(near) in unused


@as_root
def test_one_that_is_named_counts_whoever_owns_it(mesh: Path) -> None:
    os.chown(mesh, STRANGER, STRANGER)
    assert load(environment={"ARTSTORE_MESH": str(mesh)}).endpoints.admin == "m:8000"


@pytest.fixture
def doubtful(mesh: Path) -> Path:
    mesh.chmod(0o666)
    return mesh


async def test_whoever_misses_a_server_is_told_of_the_file_that_does_not_count(
    doubtful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(doubtful.parent.parent)
    monkeypatch.delenv("ARTSTORE_MESH", raising=False)
    async with Client.connect() as client:
        with pytest.raises(
            ConfigurationError, match=r"no endpoint of query.*ARTSTORE_MESH="
        ) as told:
            await client.search("x")
        with pytest.raises(ConfigurationError, match=r"no storage element.*ARTSTORE_MESH="):
            await client.stat(UNKNOWN)
    assert str(doubtful) in told.value.message


@as_root
def test_a_folder_that_may_not_be_looked_into_is_no_crash(mesh: Path) -> None:

    def look() -> None:
        admin, unused = admin_from(mesh.parent.parent)
        assert admin == ""
        assert str(mesh) in unused

    os.chown(mesh.parent, STRANGER + 1, STRANGER + 1)
    as_stranger(look)
    # Root's own may be used, if it can be read.
    os.chown(mesh.parent, 0, 0)
    as_stranger(look)

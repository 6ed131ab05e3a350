"""`artstore explain` on a running mesh: what it says, and that asking changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from artstore.v1 import accounts_pb2
from artstore_client.cli import app
from tests.acceptance.element_operator import Operator
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def outside(mesh_local: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh_local.file) as caller:
        yield caller


@pytest.fixture
def explain(
    mesh_local: MeshProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Explain:
    """Runs the command: exit code, answer, and what went to standard error."""
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            code = app.run(["explain", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_file_is_explained_through_its_life(
    explain: Explain, outside: Outside, mesh_local: MeshProcess
) -> None:
    file = outside.upload(b"12345", "explained.txt")
    operator = Operator(mesh_local, "se-01")
    operator.wait_until_followed()
    code, out, err = explain(f" {{{file.file_id.upper()}}} ")
    assert (code, err) == (0, "")
    assert "explained.txt  5 B" in out
    assert "se-01  has it, revision 1" in out
    assert "se-02  has not got it" in out
    assert "se-01 (priority 100) is the first of them" in out
    assert "fresh: checked against the store" in out
    assert "none that concern it" in out
    assert "(in 30 days): its retention (30 days) ends" in out
    assert "finds it as it is" in out

    operator.age(file.file_id)
    for _ in range(2):
        assert "expired: checked against the store" in explain(file.file_id)[1]

    outside.delete("se-01", file.file_id)
    operator.wait_until_followed()
    code, out, err = explain(file.file_id)
    assert (code, err) == (0, "")
    assert "se-01  has its tombstone: it was deleted, revision 2" in out
    assert "its bytes leave the trash (7 days" in out
    assert "`artstore restore` brings it back" in out
    assert "does not find it" in out


def test_an_id_that_nobody_knows_names_who_said_no_and_who_is_silent(explain: Explain) -> None:
    unknown = "019ad000-0000-7000-8000-000000000001"
    code, out, err = explain(unknown)
    assert code == 3
    assert "not known" in out
    assert out.count("has not got it") == 3
    assert f"no file {unknown} on se-01, se-02, se-03" in err
    assert explain("explained.txt")[0] == 3

    code, out, err = explain(unknown, "--json", ARTSTORE_STORAGE_ENDPOINTS="se-09=127.0.0.1:9")
    assert code == 5
    document: dict[str, Any] = json.loads(out)
    assert document["verdict"] == "unsure"
    assert {one["storage_element_id"]: one["answer"] for one in document["elements"]} == {
        "se-01": "not_there", "se-02": "not_there", "se-03": "not_there", "se-09": "silent",
    }  # fmt: skip
    assert "se-09" in err


def test_a_reader_is_told_what_it_may_not_see(explain: Explain, outside: Outside) -> None:
    file = outside.upload(b"1", f"{os.urandom(4).hex()}.txt")
    with outside.account(accounts_pb2.ROLE_READONLY, "default") as reader:
        code, out, err = explain(file.file_id, ARTSTORE_TOKEN=reader.token)
    assert (code, err) == (0, "")
    assert "se-01  has it, revision 1" in out
    assert "not shown: your account's role or namespaces do not reach it" in out
    assert "an ADMIN can see" in out
    with outside.account(accounts_pb2.ROLE_READONLY, "other") as stranger:
        code, out, _ = explain(file.file_id, ARTSTORE_TOKEN=stranger.token)
    assert code == 3
    assert "a namespace you may not read" in out

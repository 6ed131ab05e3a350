"""Everything uploaded is searchable at once, from outside: by each of its words, until it goes."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import accounts_pb2, downloads_pb2, query_pb2
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside
from tests.support.services import clean_environment

COMMAND = (sys.executable, "-c", "from artstore_client.cli import main; main()")


@pytest.fixture
def outside(mesh: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh.file) as caller:
        yield caller


@pytest.fixture
def outside_local(mesh_local: MeshProcess) -> Iterator[Outside]:
    """As `outside`, on local files only."""
    with Outside(mesh_local.file) as caller:
        yield caller


def search(outside: Outside, text: str = "", *after: str, **asked: Any) -> Any:
    request = query_pb2.SearchFilesRequest(query=text, min_change_tokens=after, **asked)
    return outside.query.SearchFiles(request, **outside.auth)


def found(outside: Outside, text: str = "", *after: str, **asked: Any) -> list[str]:
    """Ids of what is found once the index has the changes."""
    return [result.file.file_id for result in search(outside, text, *after, **asked).results]


def downloaded(outside: Outside, file_id: str) -> bytes:
    request = downloads_pb2.DownloadRequest(file_id=file_id)
    parts = list(outside.query.DownloadFile(request, **outside.auth))
    assert parts[0].header.file.file_id == file_id
    return b"".join(part.chunk.data for part in parts[1:])


def test_an_upload_is_found_by_all_that_is_said_of_it(outside: Outside) -> None:
    content = random.Random(5).randbytes(3_000_000)
    mark = hashlib.sha256(outside.token.encode()).hexdigest()[:10]
    answer = outside.send(
        content,
        f"Квартальный_отчёт-{mark}.Zebrafish final.pdf",
        content_type="application/pdf",
        description="Signed invoices, подписанные договоры",
        tags=["urgent", "Бухгалтерия"],
        attributes={"customer": "Acme Works"},
    )
    file, token = answer.file, answer.change_token
    assert found(outside, mark, token) == [file.file_id]
    for words in (
        f"Zebrafish {mark}",
        f"zebraf {mark[:6]}",
        f"квартальн {mark}",
        f"отчёт {mark}",
        f"fin {mark}",
        f"invoice {mark}",
        f"signing {mark}",
        f"договор {mark}",
        f"договорами {mark}",
        f"urgent бухгалтерии {mark}",
        f"acme {mark}",
        f"customer works {mark}",
    ):
        assert found(outside, words) == [file.file_id], words
    tagged = query_pb2.SearchFilters(tags=["urgent"], attributes={"customer": "Acme Works"})
    assert found(outside, mark, filters=tagged) == [file.file_id]
    assert found(outside, mark, filters=query_pb2.SearchFilters(tags=["calm"])) == []
    assert hashlib.md5(downloaded(outside, file.file_id)).digest() == hashlib.md5(content).digest()


def test_update_delete_and_undelete_show_in_the_search(outside: Outside) -> None:
    mark = "w" + hashlib.sha256(outside.token.encode()).hexdigest()[:10]
    made = outside.send(b"draft", "draft.txt", description=mark)
    file_id = made.file.file_id
    assert found(outside, mark, made.change_token) == [file_id]

    changed = outside.update(
        "se-01", file_id, paths=["description", "tags"], description="final", tags=[f"n{mark}"]
    )
    assert found(outside, f"n{mark}", changed.change_token) == [file_id]
    assert found(outside, mark) == []

    gone = outside.delete("se-01", file_id)
    assert found(outside, f"n{mark}", gone.change_token) == []
    with pytest.raises(grpc.RpcError) as missing:
        outside.query.GetFile(query_pb2.QueryServiceGetFileRequest(file_id=file_id), **outside.auth)
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND

    back = outside.undelete("se-01", file_id)
    assert found(outside, f"n{mark}", back.change_token) == [file_id]
    assert downloaded(outside, file_id) == b"draft"


NASTY = [
    "'", '"', "%", "_", "\\", "\\'", "a'b\"c", "$1", "{}", "x" * 10_240, "🙂", "\0", "a\0b",
    "a & !b | (c", ":*", "foo:*bar", "<->", "!", "()", "* OR 1=1; --", "\u202e", "\ud7ff", "ﬀ İ ß",
    "é" * 600, "-" * 1000, "a " * 500, "\u0002\u0003", "1e400", "NaN",
]  # fmt: skip


def refused(call: Any) -> str:
    """Name of the status that a call ended with."""
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_search_text_is_data_wherever_it_stands(outside_local: Outside) -> None:
    outside = outside_local
    filters = query_pb2.SearchFilters
    outside.send(b"x", "plain a b.txt", tags=["%"], attributes={"k": "'"})
    token = search(outside, "plain", page_size=1, order_by="original_filename").next_page_token
    ended = {}
    for text in NASTY:
        for name, asked in {
            "query": {"query": text},
            "order": {"order_by": text},
            "token": {"page_token": text},
            "token and more": {"page_token": token + text},
            "change": {"min_change_tokens": [text]},
            "elements": {"filters": filters(storage_element_ids=[text])},
            "namespaces": {"filters": filters(namespaces=[text])},
            "accounts": {"filters": filters(created_by=[text])},
            "types": {"filters": filters(content_types=[text, f"{text}/*"])},
            "extensions": {"filters": filters(extensions=[text])},
            "tags": {"filters": filters(tags=[text])},
            "attributes": {"filters": filters(attributes={text: text})},
            "policy": {"filters": filters(retention_policies=[99])},
        }.items():
            request = query_pb2.SearchFilesRequest(**asked)
            ended[name, text] = refused(
                lambda: outside.query.SearchFiles(request, **outside.auth)  # noqa: B023
            )
        for name, call, message in (
            ("get", outside.query.GetFile, query_pb2.QueryServiceGetFileRequest),
            ("download", lambda *a, **k: list(outside.query.DownloadFile(*a, **k)),
             downloads_pb2.DownloadRequest),
        ):  # fmt: skip
            ended[name, text] = refused(
                lambda: call(message(file_id=text), **outside.auth)  # noqa: B023
            )
    wrong = {
        place: status
        for place, status in ended.items()
        if status
        not in (("NOT_FOUND",) if place[0] in ("get", "download") else ("OK", "INVALID_ARGUMENT"))
    }
    assert wrong == {}
    assert {status for (name, _), status in ended.items() if name == "policy"} == {
        "INVALID_ARGUMENT"
    }
    assert ended["query", "\0"] == ended["tags", "a\0b"] == "INVALID_ARGUMENT"
    assert ended["query", "x" * 10_240] == "INVALID_ARGUMENT"
    assert ended["tags", "%"] == ended["query", "%"] == "OK"


def test_the_time_of_searches_is_a_metric(outside_local: Outside) -> None:
    def count() -> float:
        page = outside_local.file.metrics(outside_local.file.endpoints["query"])
        lines = page.splitlines()
        (line,) = (line for line in lines if line.startswith("artstore_search_seconds_count"))
        return float(line.split()[1])

    before = count()
    search(outside_local, "anything")
    assert count() >= before + 1


@dataclass
class Shell:
    """Runs the command as a user of the mesh would."""

    environment: dict[str, str]
    folder: Path

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What it printed and complained of; fails if it ends with another code."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done
        return done.stdout, done.stderr

    def put(self, name: str, *options: str) -> dict[str, Any]:
        (self.folder / name).write_text(name)
        put: dict[str, Any] = json.loads(self.run("put", name, "--json", *options)[0])
        return put


@pytest.fixture
def shell(mesh_local: MeshProcess, tmp_path: Path) -> Shell:
    """A shell of the first account."""
    environment = clean_environment() | {
        "ARTSTORE_MESH": str(mesh_local.mesh_file),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": mesh_local.environment["PYTHONPATH"],
    }
    return Shell(environment, tmp_path)


def test_a_search_right_after_put_and_rm_knows_of_them(shell: Shell) -> None:
    file_id = shell.put("walrus diary.txt", "--tag", "tusks")["file_id"]
    table, complaints = shell.run("search", "diaries", "--tag", "tusks")
    assert complaints == ""
    assert file_id in table
    assert "walrus diary.txt" in table
    assert "1 of 1" in table
    shell.run("rm", file_id)
    assert "0 of 0" in shell.run("search", "diaries", "--tag", "tusks")[0]
    shell.run("restore", file_id)
    assert file_id in shell.run("search", "diaries", "--tag", "tusks")[0]


def test_search_narrows_by_its_flags_and_prints_json(shell: Shell) -> None:
    small = shell.put("otter one.txt", "--attr", "river=Volga", "--permanent")
    big = shell.put("otter notebook two.csv", "--content-type", "text/csv")
    for flags, expected in (
        (["--ext", "csv"], [big]),
        (["--content-type", "text/csv"], [big]),
        (["--content-type", "text/*", "--attr", "river=Volga"], [small]),
        (["--element", "se-03"], [small]),
        (["--element", "se-02"], []),
        (["--namespace", "default", "--max-size", "13"], [small]),
        (["--min-size", "14"], [big]),
        (["--max-size", "1KiB", "--min-size", "0.014k"], [big]),
        (["--retention", "permanent"], [small]),
        (["--retention", "temporary", "--expires-before", "9999-01-01"], [big]),
        (["--created-after", "1h", "--updated-after", "1h", "--ext", "csv"], [big]),
        (["--created-before", "1h"], []),
        (["--updated-before", "2020-01-01"], []),
        (["--by", "nobody"], []),
        (["--order-by", "size_bytes"], [small, big]),
        (["--order-by", "size_bytes desc"], [big, small]),
    ):
        answer = json.loads(shell.run("search", "otter", "--json", *flags)[0])
        ids = [result["file"]["file_id"] for result in answer["results"]]
        assert ids == [file["file_id"] for file in expected], flags
    first = json.loads(
        shell.run("search", "otter", "--limit", "1", "--order-by", "size_bytes", "--json")[0]
    )
    table, _ = shell.run(
        "search", "otter", "--limit", "1", "--order-by", "size_bytes",
        "--page-token", first["next_page_token"],
    )  # fmt: skip
    assert big["file_id"] in table
    assert small["file_id"] not in table


def test_full_extensions_parts_of_words_and_facets_are_asked_for(shell: Shell) -> None:
    packed = shell.put("OtterHolidayPhotos.tar.gz", "--tag", "rivers")
    shell.put("OtterHolidayPhotos.log.gz", "--tag", "lakes")
    table, _ = shell.run("search", "holiday", "--ext", "tar.gz", "--facets")
    assert packed["file_id"] in table
    assert "1 of 1" in table
    assert "tag: rivers 1" in table
    assert "tag:" not in shell.run("search", "holiday", "--ext", "gz")[0]


def test_wrong_searches_end_with_the_code_of_usage(shell: Shell) -> None:
    for arguments in (
        ["x", "--order-by", "colour"],
        ["x", "--page-token", "garbage"],
        ["x", "--after", "garbage"],
        ["y" * 2000],
        ["x", "--attr", "no-equals-sign"],
        ["x", "--limit", "0"],
        ["x", "--min-size", "many"],
        ["x", "--min-size", "2", "--max-size", "1"],
        ["x", "--created-after", "yesterday"],
        ["x", "--created-after", "1h", "--created-before", "2h"],
        ["x", "--retention", "never"],
    ):
        out, complaints = shell.run("search", *arguments, code=2)
        assert (out, bool(complaints)) == ("", True), arguments


def test_a_change_that_never_comes_ends_the_wait(shell: Shell) -> None:
    known = shell.put("late.txt")["change_token"]
    assert "late.txt" in shell.run("search", "late", "--after", known)[0]
    element, epoch, sequence = known.rsplit(".", 2)
    never = f"{element}.{epoch}.{int(sequence) + 10**9}"
    changes = next((shell.folder / "cache" / "artstore" / "changes").iterdir())
    changes.write_text(changes.read_text() + f"9999999999 {never}\n")
    table, complaints = shell.run("search", "late", "--wait", "0.5")
    assert "does not have your last changes" in complaints
    assert "late.txt" in table
    assert shell.run("search", "late", "--wait", "0")[1] == ""


def test_sync_reads_an_element_again_and_shows_how_far_it_is(shell: Shell) -> None:
    shell.put("synced.txt")
    table, _ = shell.run("sync", "se-01")
    assert "se-01" in table
    assert "se-02" not in table
    assert " files in " in table
    status = json.loads(shell.run("sync", "--status", "--json")[0])
    assert [one["storage_element_id"] for one in status["elements"]] == ["se-01", "se-02", "se-03"]
    assert status["index_complete"]
    table, _ = shell.run("sync", "--status")
    assert "se-03" in table
    assert "not complete" not in table
    assert "se-77" in shell.run("sync", "se-77", code=3)[1]


def test_sync_is_for_administrators(shell: Shell, outside_local: Outside) -> None:
    with outside_local.account(accounts_pb2.ROLE_USER) as user:
        shell.environment |= {
            "ARTSTORE_CLIENT_ID": user.client_id,
            "ARTSTORE_CLIENT_SECRET": user.client_secret,
        }
        shell.run("sync", code=4)
        assert "se-01" in shell.run("sync", "--status")[0]


def test_a_file_is_known_by_its_id_alone(shell: Shell) -> None:
    for options in ([], ["--permanent"]):
        file = shell.put("beaver.txt", *options)
        file_id = file["file_id"]
        assert file["storage_element_id"] in shell.run("stat", file_id)[0]
        assert shell.run("get", file_id, "-o", "-")[0] == "beaver.txt"
    temporary = shell.put("gone.txt")["file_id"]
    shell.run("rm", temporary)
    for command in ("stat", "get", "rm"):
        assert temporary in shell.run(command, temporary, code=3)[1]

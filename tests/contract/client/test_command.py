"""The `artstore` command as a process, against the fake mesh."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from artstore.v1 import uploads_pb2
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault
from tests.contract.client.shell import Shell

BIG = os.urandom(10 * 1024 * 1024)


@pytest.fixture
def shell(fake: FakeMesh, tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(fake, folder)


async def test_file_goes_in_and_comes_back_under_its_name(fake: FakeMesh, shell: Shell) -> None:
    source = shell.folder / "отчёт 🎉.txt"
    source.write_text("привет")
    put = await shell.run(
        "put", source.name, "--tag", "a", "--tag", "б", "--attr", "k=v=w", "--json"
    )
    assert (put.code, put.err) == (0, "")
    (document,) = put.documents
    assert document["original_filename"] == "отчёт 🎉.txt"
    assert document["tags"] == ["a", "б"]
    assert document["attributes"] == {"k": "v=w"}
    source.unlink()
    got = await shell.run("get", str(document["file_id"]))
    assert (got.code, got.err) == (0, "")
    assert source.read_text() == "привет"


async def test_name_of_an_uploader_does_not_leave_the_folder(fake: FakeMesh, shell: Shell) -> None:
    header = uploads_pb2.UploadHeader(original_filename="../../evil.txt")
    file_id = fake.element.store(header, b"x").file_id
    assert (await shell.run("get", file_id)).code == 0
    assert (shell.folder / "_.._.._evil.txt").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (".bashrc", "_.bashrc"),
        ("-rf", "_-rf"),
        ("a\nb\x1b\u202ec", "a_b__c"),
        (" 100% $(x)\u202f\u3000\u200d. ", " 100% $(x)\u202f\u3000\u200d. "),
        ("я" * 400 + ".tar.xz", "я" * 126 + ".xz"),
    ],
)
async def test_get_chooses_a_name_that_can_do_no_harm_and_else_the_same(
    fake: FakeMesh, shell: Shell, name: str, written: str
) -> None:
    header = uploads_pb2.UploadHeader(original_filename=name)
    file_id = fake.element.store(header, b"x").file_id
    got = await shell.run("get", file_id)
    assert (got.code, got.err) == (0, "")
    assert [path.name for path in shell.folder.iterdir()] == [written]
    assert len(got.out.splitlines()) == 1


async def test_one_file_is_one_line_whatever_its_texts_hold(fake: FakeMesh, shell: Shell) -> None:
    evil = "a\n\t\x1b[2J\u009b\x85\u2028\u2029\u202eb"
    shown = r"a\n\t\x1b[2J\x9b\x85\u2028\u2029\u202eb"
    header = uploads_pb2.UploadHeader(original_filename=evil, tags=[evil], attributes={evil: evil})
    file = fake.element.store(header, b"x")
    listed = await shell.run("ls")
    assert listed.out.splitlines()[2:] == [
        line for line in listed.out.splitlines() if shown in line
    ]
    stat = await shell.run("stat", file.file_id)
    assert f"tags                 {shown}" in stat.out.splitlines()
    assert f"attributes           {shown}={shown}" in stat.out.splitlines()
    (shell.folder / evil).write_text("x")
    put = await shell.run("put", evil)
    assert put.out.splitlines() == [line for line in put.out.splitlines() if shown in line]
    (shell.folder / evil).unlink()
    gone = await shell.run("put", evil)
    assert (gone.code, len(gone.err.splitlines())) == (1, 1)
    assert shown in gone.err
    for arguments in (("ls", "--json"), ("stat", "--json", file.file_id)):
        document = (await shell.run(*arguments)).out.splitlines()[0]
        assert document == document.translate(dict.fromkeys((133, 155, 8232, 8238)))
        assert json.loads(document)["original_filename"] == evil


async def test_packed_file_is_what_it_is(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / "data.csv.gz").write_bytes(b"x")
    (document,) = (await shell.run("put", "data.csv.gz", "--json")).documents
    assert document["content_type"] == "application/gzip"


async def test_get_overwrites_only_when_told_to(fake: FakeMesh, shell: Shell) -> None:
    file_id = fake.element.store(uploads_pb2.UploadHeader(original_filename="a"), b"new").file_id
    target = shell.folder / "a"
    target.write_bytes(b"mine")
    refused = await shell.run("get", file_id)
    assert refused.code == 1
    assert "--force" in refused.err
    assert target.read_bytes() == b"mine"
    assert (await shell.run("get", file_id, "--force")).code == 0
    assert target.read_bytes() == b"new"


async def test_get_writes_to_standard_output_and_a_range(fake: FakeMesh, shell: Shell) -> None:
    file_id = fake.element.store(
        uploads_pb2.UploadHeader(original_filename="a"), b"0123456"
    ).file_id
    got = await shell.run("get", file_id, "-o", "-", "--offset", "2", "--length", "3")
    assert (got.code, got.out, got.err) == (0, "234", "")


async def test_put_takes_standard_input(fake: FakeMesh, shell: Shell) -> None:
    put = await shell.run("put", "-", "--name", "piped", "--json", stdin=b"from a pipe")
    (document,) = put.documents
    assert fake.element.files[str(document["file_id"])][1] == b"from a pipe"


async def test_folder_goes_in_with_relative_paths_as_json_lines(
    fake: FakeMesh, shell: Shell
) -> None:
    (shell.folder / "top" / "ниже").mkdir(parents=True)
    (shell.folder / "top" / "1.txt").write_text("1")
    (shell.folder / "top" / "ниже" / "2.txt").write_text("2")
    put = await shell.run("put", "-r", "top", "--json")
    assert put.code == 0
    paths = [file.attributes["path"] for file, _ in fake.element.files.values()]
    assert paths == ["top/1.txt", "top/ниже/2.txt"]
    assert len(put.documents) == 2
    listed = await shell.run("ls", "--json")
    assert [document["attributes"] for document in listed.documents] == [
        {"path": path} for path in paths
    ]
    table = await shell.run("ls", "--limit", "1")
    assert "top/1.txt" in table.out
    assert "2.txt" not in table.out


async def test_one_bad_file_does_not_stop_the_others(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / "good").write_text("x")
    put = await shell.run("put", "missing", "good", "--json")
    assert put.code == 1
    assert "missing" in put.err
    assert len(put.documents) == 1


async def test_put_of_several_ends_with_how_many_and_how_much(fake: FakeMesh, shell: Shell) -> None:
    (shell.folder / "a").write_text("x")
    (shell.folder / "b").write_text("yz")
    put = await shell.run("put", "a", "missing", "b")
    assert put.out.splitlines()[-1] == "2 of 3 files, 3 B"
    alone = await shell.run("put", "a")
    assert len(alone.out.splitlines()) == 1


async def test_exit_codes_say_what_went_wrong(fake: FakeMesh, shell: Shell) -> None:
    missing = "0199aaaa-0000-7000-8000-000000000000"
    not_found = await shell.run("stat", missing)
    assert (not_found.code, not_found.out) == (3, "")
    assert missing in not_found.err
    fake.element.unary_faults["GetFile"] = [errors.PermissionDenied("role READONLY")]
    assert (await shell.run("stat", missing)).code == 4
    (shell.folder / "a").write_text("x")
    fake.ingest.faults = [Fault(0, errors.DataLoss("digest differs"), before_accepting=True)]
    assert (await shell.run("put", "a")).code == 6
    assert (await shell.run("put")).code == 2
    assert (await shell.run("put", "a", "--attr", "novalue")).code == 2
    shell.environment["ARTSTORE_STORAGE_ENDPOINTS"] = "se-01=localhost:1"
    fake.elements.endpoint = "localhost:1"
    assert (await shell.run("stat", missing)).code == 5
    del shell.environment["ARTSTORE_CLIENT_SECRET"]
    no_account = await shell.run("token")
    assert no_account.code == 2
    assert "ARTSTORE_CLIENT_SECRET" in no_account.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no\udcff\x1b[2J\nsuch",),
        ("no\udcff\x1b[2J\nsuch",),
        ("ls", "--limit", "\udcff\x1b[2J\nx"),
        ("put", "a", "--attr", "\udcff\x1b[2J\nx"),
        ("put", "--content-type"),
        ("stat", "x", "--an-option-that-a-frame-of-80-columns-would-break-into-two-lines"),
    ],
)
async def test_wrong_use_is_one_line_that_says_where_to_read_on(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    ended = await shell.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("artstore: ")
    assert "--help`" in line
    assert line.isprintable()


async def test_bytes_that_are_no_text_are_told_in_words_without_the_text(shell: Shell) -> None:
    shell.environment["ARTSTORE_CLIENT_SECRET"] = "hid\udcffden"
    ended = await shell.run("ls", "--namespace", "x")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert "not UTF-8" in line
    assert "hid" not in line


async def test_command_without_arguments_shows_its_help(shell: Shell) -> None:
    shown = await shell.run()
    assert "Commands" in shown.out + shown.err


async def test_help_documents_the_exit_codes(shell: Shell) -> None:
    shown = await shell.run("--help")
    assert shown.code == 0
    assert "3 not found" in " ".join(shown.out.split())


async def test_token_is_all_that_token_prints(shell: Shell) -> None:
    assert (await shell.run("token")).out == "bearer-1\n"


async def test_killed_put_resumes_when_it_is_repeated(fake: FakeMesh, shell: Shell) -> None:
    source = shell.folder / "big.iso"
    source.write_bytes(BIG)
    fake.element.write_faults = [Fault(3 * 1024 * 1024, None)]
    process = await shell.start("put", "big.iso", "--json")
    await fake.element.until(lambda: fake.element.bytes_received >= 3 * 1024 * 1024)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    put = await shell.run("put", "big.iso", "--json")
    assert put.code == 0, put.err
    (document,) = put.documents
    resumed_at = document["resumed_at_bytes"]
    assert isinstance(resumed_at, int)
    assert resumed_at >= 3 * 1024 * 1024
    assert fake.element.files[str(document["file_id"])][1] == BIG
    again = await shell.run("put", "big.iso", "--json")
    assert again.documents[0]["resumed_at_bytes"] == 0


async def test_interrupt_ends_with_130_and_keeps_what_was_sent(
    fake: FakeMesh, shell: Shell
) -> None:
    (shell.folder / "big.iso").write_bytes(BIG)
    fake.element.write_faults = [Fault(1024 * 1024, None)]
    process = await shell.start("put", "big.iso")
    await fake.element.until(lambda: fake.element.bytes_received >= 1024 * 1024)
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
    assert len(list((shell.folder / "cache" / "artstore" / "uploads").iterdir())) == 1


async def test_elements_that_do_not_answer_are_shown_and_decide_the_code(
    fake: FakeMesh, shell: Shell
) -> None:
    shell.environment["ARTSTORE_STORAGE_ENDPOINTS"] += ",se-02=localhost:1"
    shown = await shell.run("elements", "--json")
    assert shown.code == 5
    first, second = json.loads(shown.out)
    assert first["error"] is None
    assert second["error"]

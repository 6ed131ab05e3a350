"""Names and content types as people have them go in, are found, and come back as they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from artstore.v1 import query_pb2, uploads_pb2
from artstore_client import Client
from artstore_client.cli import app
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

NAMES = (
    # Spaces: no-break, narrow no-break (screenshots of macOS), ideographic, thin, at both ends.
    "Отчёт\u00a0за\u00a0год.docx",
    "Screenshot 2026-11-27 at 9.41.10\u202fAM.png",
    "日本語\u3000資料.pdf",
    "thin\u2009space.txt",
    "figure\u2007space.txt",
    " leading.txt",
    "trailing.txt ",
    "  both  ",
    "two  inside.txt",
    "dots at the end...",
    "dot and space. .",
    "\u00a0nbsp first.txt",
    "ideographic last\u3000",
    # Joiners, variation selectors, emoji sequences.
    "می\u200cخواهم.txt",
    "क्\u200dष.txt",
    "zero\u200bwidth.txt",
    "word\u2060joiner.txt",
    "soft\u00adhyphen.txt",
    "👨‍👩‍👧‍👦 family.jpg",
    "🏳️‍🌈.svg",
    "👍🏽 ok.png",
    "1️⃣ first.txt",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f.txt",
    "🎉",
    "☃\ufe0e.txt",
    # Marks: composed, decomposed, not composable, stacked.
    "café composed.txt",
    "cafe\u0301 decomposed.txt",
    "Й composed.txt",
    "И\u0306 decomposed.txt",
    "x\u0302y\u0302.dat",
    "Z\u0351\u036b\u0343a\u0334l\u0321go.txt",
    "한글 파일.hwp",
    "\u1112\u1161\u11ab\u1100\u1173\u11af.hwp",
    "Ångström \u212b.txt",
    "İstanbul ı.txt",
    "Straße ẞ.txt",
    "ΟΔΟΣ οδός.txt",
    # Right to left, mixed, with marks of direction.
    "שלום עולם.pdf",
    "مرحبا بالعالم.pdf",
    "report דוח 2026.xlsx",
    "שָׁלוֹם.txt",
    "\u200frtl mark.txt",
    "فاتورة \u200e(1).pdf",
    # Other scripts.
    "हिन्दी दस्तावेज़.odt",
    "ไฟล์ ภาษาไทย.txt",
    "தமிழ்.txt",
    "𐍈𝔊𠜎.txt",
    # Punctuation, quotes, per cent, what shells and patterns read.
    "+++",
    "!!!",
    "(*.*)",
    "_",
    "%",
    "100%25 %2F %00.txt",
    'it\'s "quoted" `twice`.txt',
    "$(rm -rf ~); echo $HOME & > out | cat #.sh",
    "[a-z]?{1,2}*~!^.txt",
    "back\\slash\\n.txt",
    "a:b<c>d|e?f*.txt",
    "key=value;a,b@c+d.txt",
    "no extension",
    # 255 bytes.
    "l" * 251 + ".txt",
    "ж" * 125 + "x.pdf",
)
HIDDEN = (".bashrc", "..hidden", "-rf", "--help", "---")
Artstore = Callable[..., list[str]]


@pytest.fixture
def artstore(
    mesh_local: MeshProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Artstore:
    """Runs the command as the first account in an empty folder; answers lines."""
    monkeypatch.setenv("ARTSTORE_MESH", str(mesh_local.mesh_file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: str) -> list[str]:
        capsys.readouterr()
        code = app.run(arguments)
        printed = capsys.readouterr()
        assert (code, printed.err) == (0, ""), arguments
        return printed.out.splitlines()

    return run


@pytest.fixture
def outside(mesh_local: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh_local.file) as caller:
        yield caller


def put(artstore: Artstore, names: tuple[str, ...]) -> dict[str, str]:
    """Put files of these names and remove them; name -> id."""
    for name in names:
        Path(name).write_text(name)
    answers = [json.loads(line) for line in artstore("put", "--json", *(f"./{n}" for n in names))]
    assert [answer["original_filename"] for answer in answers] == list(names)
    for name in names:
        Path(name).unlink()
    return {answer["original_filename"]: answer["file_id"] for answer in answers}


def files_here() -> list[str]:
    return [path.name for path in Path.cwd().iterdir()]


def test_sixty_names_go_round(artstore: Artstore) -> None:
    assert len(set(NAMES)) == len(NAMES) >= 60
    ids = put(artstore, NAMES)
    listed = {line["file_id"]: line for line in map(json.loads, artstore("ls", "--json"))}
    lines = {line[:36]: line for line in artstore("ls")}
    described = map(json.loads, artstore("stat", "--json", *ids.values()))
    assert [file["original_filename"] for file in described] == list(NAMES)
    for name, file_id in ids.items():
        assert listed[file_id]["original_filename"] == name
        assert lines[file_id].endswith(f"Z  {name}")
        (page,) = map(json.loads, artstore("search", "--json", "--limit", "1", "--", name))
        assert [found["file"]["file_id"] for found in page["results"]] == [file_id], name
        artstore("get", file_id)
        assert files_here() == [name]
        assert Path(name).read_text() == name
        Path(name).unlink()


def test_get_never_writes_a_hidden_file_or_an_option(artstore: Artstore) -> None:
    for name, file_id in put(artstore, HIDDEN).items():
        artstore("get", file_id)
        assert files_here() == [f"_{name}"]
        Path(f"_{name}").unlink()


async def test_names_go_round_on_s3(mesh_s3: MeshProcess, tmp_path: Path) -> None:
    async with Client.connect(mesh_file=mesh_s3.mesh_file, state_folder=tmp_path) as client:
        uploaded = [await client.upload(name.encode(), name=name) for name in NAMES]
        report = await client.cache("se-01").check()
        assert report.is_consistent
        found = await client.get_many([file.file_id for file in uploaded])
        for file, name in zip(uploaded, NAMES, strict=True):
            assert found[file.file_id].original_filename == name
            content = b"".join([part async for part in client.download(file.file_id)])
            assert content == name.encode()


def test_a_content_type_is_found_whatever_its_case_and_parameters(outside: Outside) -> None:
    sent = outside.send(b"<p>", "page.html", content_type="TEXT/HTML;Charset=KOI8-R", tags=["d8"])
    assert sent.file.content_type == "text/html; charset=KOI8-R"
    for asked in ("text/html", "Text/HTML; charset=x", "TEXT/*"):
        page = outside.query.SearchFiles(
            query_pb2.SearchFilesRequest(
                filters=query_pb2.SearchFilters(content_types=[asked], tags=["d8"]),
                min_change_tokens=[sent.change_token],
            ),
            **outside.auth,
        )
        assert [result.file.file_id for result in page.results] == [sent.file.file_id], asked


@pytest.mark.parametrize("nonsense", ["foo", "text/", "a/b\x9b", "text /html", "a/" + "b" * 300])
def test_a_content_type_that_is_none_is_refused_everywhere(outside: Outside, nonsense: str) -> None:
    file = outside.upload(b"x", "plain.txt", content_type="text/plain")
    start = uploads_pb2.StartUploadRequest(
        header=uploads_pb2.UploadHeader(original_filename="a", content_type=nonsense)
    )
    for attempt in (
        lambda: outside.upload(b"x", "a", content_type=nonsense),
        lambda: outside.upload_to("se-01", b"x", "a", content_type=nonsense),
        lambda: outside.storage("se-01").StartUpload(start, **outside.auth),
        lambda: outside.update(
            "se-01", file.file_id, paths=["content_type"], content_type=nonsense
        ),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            attempt()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "content_type" in refused.value.details()

"""Names fit every file system, whatever users call their files."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import (
    clean,
    clean_uploader,
    file_id_in_name,
    folder_of,
    is_folder,
    sidecar_path,
    split_name,
    split_sidecar_path,
    storage_filename,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = new_file_id(AT)

anything = st.text(st.characters(codec=None, categories=None), max_size=400)


@given(anything, anything)
def test_a_name_is_at_most_200_bytes_and_its_sidecars_at_most_255(
    original: str, uploader: str
) -> None:
    name = storage_filename(original, uploader, AT, ID)
    assert len(name.encode()) <= 200
    assert len((name + ".attr.json").encode()) <= 255


@given(anything, anything)
def test_a_name_holds_nothing_that_a_file_system_refuses(original: str, uploader: str) -> None:
    name = storage_filename(original, uploader, AT, ID)
    assert not set(name) & set('<>:"/\\|?*')
    assert all(character.isprintable() or ord(character) > 0x9F for character in name)
    assert not name.startswith(".")


@given(anything)
def test_cleaning_twice_changes_nothing_more(original: str) -> None:
    assert clean(clean(original)) == clean(original)


@given(anything, st.uuids(), anything)
def test_the_id_is_read_back_even_if_users_names_hold_ids(
    before: str, decoy: uuid.UUID, after: str
) -> None:
    name = storage_filename(f"{before}_{decoy}{after}", str(decoy), AT, ID)
    assert file_id_in_name(name) == ID
    assert file_id_in_name(sidecar_path(folder_of(AT), name)) == ID


@pytest.mark.parametrize(
    ("original", "stem", "extension"),
    [
        ("report.pdf", "report", ".pdf"),
        ("archive.tar.gz", "archive.tar", ".gz"),
        ("README", "README", ""),
        (".pdf", "file", ".pdf"),
        (".bashrc.txt", "_bashrc", ".txt"),
        ("ends.", "ends.", ""),
        (".", "_", ""),
        ("..", "_.", ""),
        ("../../etc/passwd", "_._.", "._etc_passwd"),
        ("a/b\\c:d.e*f", "a_b_c_d", ".e_f"),
        ("отчёт за год.docx", "отчёт за год", ".docx"),
        ("x." + "e" * 50, "x", "." + "e" * 19),
        ("x." + "ю" * 50, "x", "." + "ю" * 9),
        ("null\0byte.txt", "null_byte", ".txt"),
        ("lone\ud800.txt", "lone_", ".txt"),
        ("👩‍👩‍👧.png", "👩‍👩‍👧", ".png"),
    ],
)
def test_a_users_name_is_split_and_cleaned(original: str, stem: str, extension: str) -> None:
    assert split_name(original) == (stem, extension)


def test_only_the_stem_is_shortened_and_at_a_characters_border() -> None:
    name = storage_filename("ж" * 500 + ".pdf", "alice", AT, ID)
    tail = f"_alice_20260102T030405_{ID}.pdf"
    assert name.endswith(tail)
    stem = name.removesuffix(tail)
    assert stem == "ж" * len(stem)
    assert 199 <= len(name.encode()) <= 200


def test_a_name_is_put_together_as_the_contract_says() -> None:
    name = storage_filename("report.pdf", "alice", AT, ID)
    assert name == f"report_alice_20260102T030405_{ID}.pdf"


@pytest.mark.parametrize(
    ("uploader", "cleaned"),
    [
        ("alice@example.com", "alice@example.com"),
        ("Алиса", "_____"),
        ("a/b c", "a_b_c"),
        ("", "unknown"),
        ("x" * 100, "x" * 64),
    ],
)
def test_an_uploader_is_at_most_64_ascii_characters(uploader: str, cleaned: str) -> None:
    assert clean_uploader(uploader) == cleaned


def test_the_folder_is_that_of_the_hour_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert folder_of(datetime(2026, 1, 1, 8, 30, tzinfo=tokyo)) == "2025/12/31/23"
    assert is_folder("2025/12/31/23")
    assert not is_folder("2025/13/31/23")
    assert not is_folder("2025/12/31/23/x")


def test_a_sidecars_path_is_split_again() -> None:
    path = sidecar_path("2026/01/02/03", "name.pdf")
    assert path == "2026/01/02/03/name.pdf.attr.json"
    assert split_sidecar_path(path) == ("2026/01/02/03", "name.pdf")


def test_a_name_without_an_id_has_none() -> None:
    assert file_id_in_name("2026/01/02/03/notes.txt") is None

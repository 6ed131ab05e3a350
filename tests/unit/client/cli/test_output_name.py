"""Names of downloaded files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artstore_client.cli.output_name import output_name

ID = "0199aaaa-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "name",
    [
        "report.pdf",
        "отчёт за год.docx",
        "family 👨‍👩‍👧.jpg",
        "Screenshot 2026-11-27 at 9.41.10\u202fAM.png",
        "no\u00a0break\u3000wide\u200cjoin\u200d.txt",
        "cafe\u0301.txt",
        "שלום \u200f(1).txt",
        " leading and trailing. . ",
        "100% 'quoted' \"$(x)\" `y` <a|b>*?:;&\\n.txt",
        "я" * 127,
    ],
)
def test_name_comes_back_as_it_was(name: str) -> None:
    assert output_name(name, ID) == name


@pytest.mark.parametrize(
    ("original", "written"),
    [
        ("AC/DC.mp3", "AC_DC.mp3"),
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("a\x00b\nc\x7f\x9b.txt", "a_b_c__.txt"),
        ("invoice\u202efdp.exe\u2069", "invoice_fdp.exe_"),
        ("", ID),
        ("..", "_.."),
        (".", "_."),
        (".bashrc", "_.bashrc"),
        ("-rf", "_-rf"),
        ("///", "___"),
    ],
)
def test_only_what_no_name_should_hold_is_replaced(original: str, written: str) -> None:
    assert output_name(original, ID) == written


@pytest.mark.parametrize("name", ["ж" * 400 + ".pdf", "." + "ж" * 126 + ".pdf"])
def test_long_name_keeps_its_extension_and_whole_characters(name: str) -> None:
    cut = output_name(name, ID)
    assert cut.endswith("ж.pdf")
    assert 253 < len(cut.encode()) <= 255


def test_long_name_is_not_cut_before_what_joins_two_characters() -> None:
    assert output_name("a" * 252 + "\u200d" + "🎉" * 10, ID) == "a" * 252


@given(st.text(max_size=400))
def test_any_name_is_one_component_that_a_file_system_takes(original: str) -> None:
    name = output_name(original, ID)
    assert 0 < len(name.encode("utf-8", "replace")) <= 255
    assert "/" not in name
    assert "\x00" not in name
    assert name[0] not in ".-"

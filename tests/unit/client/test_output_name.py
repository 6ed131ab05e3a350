"""Names of downloaded files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artstore_client.output_name import output_name

ID = "0199aaaa-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("original", "written"),
    [
        ("report.pdf", "report.pdf"),
        ("отчёт за год.docx", "отчёт за год.docx"),
        ("family 👨‍👩‍👧.jpg", "family 👨‍👩‍👧.jpg"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a\x00b\nc.txt", "a_b_c.txt"),
        ('a<b>c:"d|e?f*.txt', "a_b_c__d_e_f_.txt"),
        ("trailing. . ", "trailing"),
        ("", ID),
        ("..", ID),
        (".", ID),
        ("folder/", ID),
        (".bashrc", ".bashrc"),
        ("///", ID),
    ],
)
def test_name_is_the_last_part_made_safe(original: str, written: str) -> None:
    assert output_name(original, ID) == written


def test_long_name_keeps_its_extension_and_whole_characters() -> None:
    name = output_name("ж" * 400 + ".pdf", ID)
    assert name.endswith("ж.pdf")
    assert 230 < len(name.encode()) <= 240


@given(st.text(max_size=400))
def test_any_name_is_one_component_that_a_file_system_takes(original: str) -> None:
    name = output_name(original, ID)
    assert 0 < len(name.encode("utf-8", "replace")) <= 240
    assert "/" not in name
    assert "\x00" not in name
    assert name not in (".", "..")

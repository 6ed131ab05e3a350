"""The form of content types."""

from __future__ import annotations

import pytest

from mesh.content_type import canonical, folded
from mesh.errors import InvalidArgument


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("text/html", "text/html"),
        ("TEXT/HTML; charset=x", "text/html; charset=x"),
        ("Text/Html;Charset=UTF-8", "text/html; charset=UTF-8"),
        ("text/html;", "text/html"),
        ('a/b ; x="q; \\"z" ;Y=1', 'a/b; x="q; \\"z"; y=1'),
        ("application/vnd.a+b.c-d_e;version=1", "application/vnd.a+b.c-d_e; version=1"),
        (f"a/b;x={'y' * 249}", f"a/b;x={'y' * 249}"),
    ],
)
def test_case_and_spaces_are_folded_and_parameters_are_kept(given: str, kept: str) -> None:
    assert canonical(given) == kept
    assert canonical(kept) == kept
    assert folded(given) == kept.partition(";")[0]


@pytest.mark.parametrize(
    "nonsense",
    [
        "", " ", "foo", "text/", "/html", "text /html", "text/ html", " text/html", "text/html ",
        "text/html\n", "text/h\x00tml", "text/h\x9btml", "té/xt", "*/*", "image/*", "a/b/c",
        "text/html,text/plain", "a/b;x", "a/b; x=", "a/b;=y", 'a/b;x="y', 'a/b;x="\x1b"',
        "a" * 128 + "/b", "a/" + "b" * 128, "a/b;x=" + "y" * 250, "a\ud800/b", "\u00a0",
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_the_name_of_the_field(nonsense: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        canonical(nonsense)
    assert refused.value.field == "content_type"

"""Cursors of change feeds: what was made is read, and nothing else."""

from __future__ import annotations

import pytest

from mesh.elements.feed_cursor import FeedCursor, decode, encode
from mesh.errors import InvalidArgument


@pytest.mark.parametrize(
    "cursor",
    [
        FeedCursor("6f2c", 0, ""),
        FeedCursor("6f2c", 7, "0c9a1f6e-13ab-4e6e-9b9d-0f0a3c1d2e4f"),
        FeedCursor("e" * 64, 10**17, "x"),
        FeedCursor(),
    ],
)
def test_a_cursor_is_read_as_it_was_made(cursor: FeedCursor) -> None:
    assert decode(encode(cursor.epoch, cursor.sequence, cursor.change_id)) == cursor


@pytest.mark.parametrize(
    "text", ["x", "a.b", "a.b.c", ".1.c", "a.-1.c", "a.1.b.c", "a.1." + "x" * 200]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode(text)
    assert refused.value.field == "cursor"

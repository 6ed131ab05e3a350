"""What ingest keeps of uploads for another element is bounded, for one and for all."""

from __future__ import annotations

import pytest

from ingest_server.uploads.kept import KEPT_BYTES, KEPT_IN_ALL_BYTES, KeptMessages, KeptUploads

CHUNK = bytes(512 * 1024)


@pytest.fixture
def uploads() -> KeptUploads:
    return KeptUploads()


def all_of(kept: KeptMessages) -> list[bytes]:
    found = []
    while (message := kept.again()) is not None:
        found.append(message)
    return found


def test_what_is_little_can_be_sent_again(uploads: KeptUploads) -> None:
    kept = uploads.begin()
    for message in (b"a", b"b"):
        kept.add(message)
    assert kept.again() is None
    assert kept.rewind()
    assert all_of(kept) == [b"a", b"b"]
    kept.add(b"c")
    assert kept.rewind()
    assert all_of(kept) == [b"a", b"b", b"c"]


def test_what_is_much_is_not_kept(uploads: KeptUploads) -> None:
    kept = uploads.begin()
    kept.add(CHUNK)
    kept.add(bytes(KEPT_BYTES))
    assert not kept.rewind()
    assert uploads.size_bytes == 0


def test_300_uploads_keep_little_and_the_last_ones_all(uploads: KeptUploads) -> None:
    begun = [uploads.begin() for _ in range(300)]
    for kept in begun:
        kept.add(CHUNK)
    assert uploads.size_bytes <= KEPT_IN_ALL_BYTES
    whole = [kept.is_whole for kept in begun]
    assert whole == sorted(whole)
    assert sum(whole) == KEPT_IN_ALL_BYTES // len(CHUNK)
    for kept in begun:
        kept.forget()
    assert uploads.size_bytes == 0


def test_what_goes_to_another_element_is_kept_meanwhile(uploads: KeptUploads) -> None:
    needed = uploads.begin()
    needed.add(CHUNK)
    assert needed.rewind()
    for _ in range(300):
        uploads.begin().add(CHUNK)
    assert all_of(needed) == [CHUNK]

"""What a rebuild makes of a sidecar does not depend on the way that it took."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.cache.candidates import Candidate, Seen, by_the_codec, sorted_out
from storage_server.domain.file_id import new_file_id
from storage_server.domain.sidecar import FileState, Sidecar, encode
from storage_server.sidecars.reading import InvalidAttr
from storage_server.store.port import UNREADABLE_SIZE, Identity
from tests.support.sidecars import AT, a_sidecar, any_sidecar

IDENTITY = Identity(size=900, mtime_ns=1_700_000_000_123_456_789, inode=7)
SEEN = Seen(AT, 24)
ID, OTHER = new_file_id(AT), "00000000-1111-4222-8333-444444444444"
NAMES = [
    f"report_alice_20260102T030405_{ID}.pdf",
    f"{OTHER}_alice_20260102T030405_{ID}.pdf",
    f"{ID}.pdf",
    f"_{ID}",
    f"a-{ID}",
    f"a_{ID}.{OTHER}",
    f"a_{ID}_{OTHER}",
    f"a_{ID.upper()}",
    f"0{ID}",
    "no id",
    ".",
]
FOLDERS = ["2026/01/02/03", "2026/01/02/04", "", "/2026", "2026/../01"]


def both(path: str, data: bytes, identity: Identity, blob: bool) -> tuple[object, object]:
    """What a rebuild makes of it, and what the codec alone does."""
    valid, invalid = sorted_out([path], [(data, identity)], set() if blob else {path}, SEEN)
    return (valid + invalid)[0], by_the_codec(path, data, identity, blob, SEEN)


@given(any_sidecar, st.data())
def test_any_sidecar_at_any_place_has_the_verdict_of_the_codec(
    sidecar: Sidecar, data: st.DataObject
) -> None:
    file_id = data.draw(st.sampled_from([ID, OTHER]))
    name = data.draw(st.sampled_from(NAMES))
    folder = data.draw(st.sampled_from(FOLDERS))
    placed = replace(sidecar, file_id=file_id, storage_filename=name, storage_path=folder)
    lies_in, called = (
        data.draw(st.sampled_from([folder, *FOLDERS])),
        data.draw(st.sampled_from([name, *NAMES])),
    )
    path = f"{lies_in}/{called}" + data.draw(st.sampled_from([".attr.json", ".ATTR.json"]))
    ours, codecs = both(path, encode(placed), IDENTITY, data.draw(st.booleans()))
    assert ours == codecs


@given(st.binary(max_size=60), st.sampled_from(NAMES))
def test_any_bytes_have_the_verdict_of_the_codec(data: bytes, name: str) -> None:
    ours, codecs = both(f"2026/01/02/03/{name}.attr.json", data, IDENTITY, blob=True)
    assert isinstance(ours, InvalidAttr)
    assert ours == codecs


def test_what_is_no_file_is_invalid_whatever_was_read_of_it() -> None:
    sidecar = a_sidecar(file_id=ID, storage_filename=NAMES[0])
    path = f"{sidecar.storage_path}/{NAMES[0]}.attr.json"
    ours, codecs = both(path, encode(sidecar), Identity(UNREADABLE_SIZE), blob=True)
    assert isinstance(ours, InvalidAttr)
    assert ours == codecs


@pytest.mark.parametrize("state", FileState)
def test_a_file_as_it_is_written_takes_the_quick_way(
    state: FileState, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = a_sidecar(file_id=ID, storage_filename=NAMES[0], state=state)
    path = f"{sidecar.storage_path}/{NAMES[0]}.attr.json"
    expected = by_the_codec(path, encode(sidecar), IDENTITY, True, SEEN)
    monkeypatch.delattr("storage_server.cache.candidates.validated")
    valid, invalid = sorted_out([path], [(encode(sidecar), IDENTITY)], set(), SEEN)
    assert (valid, invalid) == ([expected], [])
    assert isinstance(expected, Candidate)

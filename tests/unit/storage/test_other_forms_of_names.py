"""Any file, whatever it was called and whatever a tool made of that, is found by its id."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from storage_server.domain.naming import MAX_NAME_BYTES, is_sidecar_name
from storage_server.domain.sidecar import encode
from storage_server.sidecars.locate import locate, locate_blob
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.memory_store import Memory, MemoryStore
from tests.support.renaming import FORMS, Form, renamed

names = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=80
)
forms = st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=3)
halves = st.sampled_from(("both", "blob", "sidecar"))


def chained(chosen: list[str]) -> Form:
    def form(name: str) -> str:
        for one in chosen:
            name = FORMS[one](name)
        return name

    return form


@given(names, forms, halves)
def test_a_file_is_found_under_any_form_of_any_name(
    name: str, chosen: list[str], half: str
) -> None:
    sidecar = a_sidecar(at=datetime.now(UTC), original_filename=name)
    assert len(sidecar.storage_filename.encode()) <= MAX_NAME_BYTES
    path, form = path_of(sidecar), chained(chosen)
    blob = path.removesuffix(".attr.json")
    there = renamed(path, form) if half != "blob" else path
    bytes_there = renamed(blob, form) if half != "sidecar" else blob
    assert is_sidecar_name(there) and not is_sidecar_name(bytes_there)

    async def find() -> None:
        memory = Memory()
        memory.put(there, encode(sidecar))
        memory.put(bytes_there, b"hello")
        store = MemoryStore(memory)
        for known_path in (path, ""):
            found = await locate(store, sidecar.file_id, known_path)
            assert found is not None and found.sidecar == sidecar
            assert (found.path, found.recorded_path) == (there, path)
        place = await locate_blob(store, sidecar)
        assert place == bytes_there
        assert hashlib.sha256(memory.files[place][0]).hexdigest() == sidecar.sha256

    asyncio.run(find())

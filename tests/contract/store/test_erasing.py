"""What is removed for good: of one file all, of others nothing."""

from __future__ import annotations

from typing import Any

from storage_server.store.port import Store
from tests.support.places import FOLDER, Place, S3Place

FILE = "019af5d0-3a00-7000-8000-0000000000a1"
OTHER = "019af5d0-3a00-7000-8000-0000000000a2"
KEPT = f"{FOLDER}/erased_20261124T030000_{FILE}.attr.json"
BLOB = f"{FOLDER}/Secret report_bob_20261124T030000_{FILE}.pdf"
OTHERS = {
    f"{FOLDER}/Public_bob_20261124T030000_{OTHER}.pdf": b"public",
    f"{FOLDER}/Public_bob_20261124T030000_{OTHER}.pdf.attr.json": b"{}",
    f".quarantine/2026/{OTHER}_sidecar": b"public",
}


async def test_all_of_a_file_goes_but_the_one_path_that_stays(place: Place, store: Store) -> None:
    await store.write_element(b"{}")
    before = place.paths()
    place.put(
        {
            **OTHERS,
            KEPT: b"{}",
            BLOB: b"secret",
            f"{BLOB}.attr.json": b"{}",
            f"{FOLDER}/another form_{FILE.upper()}.pdf": b"secret",
            f".quarantine/2026/{FILE}_sidecar": b"secret",
            "2026/11/24/04/no id": b"secret",
            "2026/11/24/04/no id.attr.json": b"{}",
        }
    )
    others = ["2026/11/24/04/no id", "2026/11/24/04/no id.attr.json"]
    await store.erase(FILE, [FOLDER, "2026/11/24/05"], others=others, keep=KEPT)
    assert place.paths() - before == {*OTHERS, KEPT}
    assert await store.find_blobs(FILE, FOLDER) == []
    assert await store.find_sidecars(FILE, FOLDER) == [KEPT]
    await store.erase(FILE, [FOLDER], keep=KEPT)
    assert place.paths() - before == {*OTHERS, KEPT}


async def test_stages_of_the_file_go(place: Place, store: Store) -> None:
    await store.write_element(b"{}")
    before = place.paths()
    stage = await store.open_stage(BLOB, key=FILE)
    await stage.write(bytes(6 << 20))
    await stage.checkpoint()
    await stage.close()
    await store.erase(FILE, [FOLDER], keep=KEPT)
    assert place.paths() == before


async def test_earlier_versions_go_too(place: Place, store: Store) -> None:
    if not isinstance(place, S3Place) or place.name != "seaweedfs":
        # The others keep none.
        return
    client: Any = place.client
    bucket = place.account.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    place.put({BLOB: b"secret", **OTHERS})
    place.put({BLOB: b"secret too", f"{BLOB}.attr.json": b"{}"})
    await store.delete_blob(BLOB)
    place.put({KEPT: b"{}"})
    await store.erase(FILE, [FOLDER], keep=KEPT)
    listed = client.list_object_versions(Bucket=bucket)
    found = [one["Key"] for kind in ("Versions", "DeleteMarkers") for one in listed.get(kind, ())]
    assert [key for key in found if FILE in key and not key.endswith(KEPT)] == []
    assert any(key.endswith(KEPT) for key in found)
    assert len([key for key in found if OTHER in key]) == len(OTHERS)

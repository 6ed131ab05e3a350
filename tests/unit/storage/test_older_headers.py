"""What an earlier version kept of an upload is that of the same request made now."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime

import orjson
import pytest

from storage_server.domain.file_id import new_file_id
from storage_server.domain.sidecar import RetentionPolicy
from storage_server.store.port import SealedBlob
from storage_server.uploads.header import Header, checked, completed, describes, draft

SAID = Header(
    original_filename="report.txt",
    content_type="Text/Plain; Charset=utf-8",
    tags=("b", "a", "b"),
    request_id="once",
)
REPEAT = checked(SAID, "anna")


def test_an_open_upload_is_found_by_its_repeat() -> None:
    assert Header.from_bytes(orjson.dumps(asdict(SAID))) == REPEAT


def test_a_file_is_found_by_its_repeat() -> None:
    sidecar = completed(draft(REPEAT, new_file_id(datetime.now(UTC)), "anna"), SealedBlob(0, "", 0))
    older = replace(sidecar, content_type=SAID.content_type, tags=SAID.tags)
    assert describes(REPEAT, older)
    assert not describes(REPEAT, replace(older, content_type="text/html"))


@pytest.mark.parametrize("nonsense", ["no media type", "", "text/"])
def test_a_content_type_that_would_be_refused_now_stays(nonsense: str) -> None:
    kept = orjson.dumps(asdict(replace(SAID, content_type=nonsense)))
    assert Header.from_bytes(kept).content_type == nonsense


def test_a_file_that_was_finalized_is_the_one_that_its_temporary_header_made() -> None:
    made = completed(draft(REPEAT, new_file_id(datetime.now(UTC)), "anna"), SealedBlob(0, "", 0))
    permanent = replace(made, retention_policy=RetentionPolicy.PERMANENT, retention_days=0)
    assert not describes(REPEAT, permanent)
    assert describes(REPEAT, replace(permanent, revision=2))

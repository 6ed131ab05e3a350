"""What `element.json` says: also of earlier versions, and when somebody has written into it."""

from __future__ import annotations

import orjson
import pytest

from storage_server.domain.modes import Mode
from storage_server.element.identity import ElementFile, decode, encode
from storage_server.element.peers import keep_peers
from storage_server.element.state import Element

ALONE = ElementFile("se-01", "3f2b0c1e-7c65-4f9f-9b58-0d0a6d9c1a01", Mode.EDIT)


@pytest.mark.parametrize("peers", [(), ("se-02", "se-03")])
def test_it_says_what_was_written(peers: tuple[str, ...]) -> None:
    written = ElementFile(ALONE.element_id, ALONE.store_id, ALONE.mode, peers)
    assert decode(encode(written)) == written


def test_of_an_element_that_knows_no_others_it_is_as_earlier_versions_wrote_it() -> None:
    assert set(orjson.loads(encode(ALONE))) == {"element_id", "store_id", "mode"}


@pytest.mark.parametrize("peers", [None, [], ["../x", 7, ""], {}])
def test_what_is_no_name_of_an_element_is_left_out(peers: object) -> None:
    content = {**orjson.loads(encode(ALONE)), "peers": peers, "heard_at": "later"}
    assert decode(orjson.dumps(content)) == ALONE


async def test_one_that_does_not_write_its_store_keeps_nothing() -> None:
    element = Element("se-01", Mode.EDIT)
    await keep_peers(element, ["se-02"])
    assert element.peers == ()

"""Pages of a bucket's listing: understood whole, or refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest

from mesh.errors import Unavailable
from storage_server.store.s3_client import S3Client
from storage_server.store.s3_listing import Entry, Grouping, pages, parse_page
from storage_server.store.threads import Threads

HEAD = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


def page(*keys: str, more: str = "", extra: str = "") -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>2</Size><ETag>&quot;e{n}&quot;</ETag></Contents>"
        for n, key in enumerate(keys)
    )
    token = (
        f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>"
        if more
        else "<IsTruncated>false</IsTruncated>"
    )
    return f"{HEAD}{extra}{token}{contents}</ListBucketResult>".encode()


class Server:
    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers

    async def list_page(self, prefix: str, token: str, *, patient: bool) -> bytes:
        return self.answers[token]


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads("test", count=1, deadline_seconds=5)
    yield made
    made.close()


async def listed(answers: dict[str, bytes], threads: Threads) -> list[str]:
    client = cast(S3Client, Server(answers))
    return [entry.path async for found in pages(client, threads, "p/") for entry in found]


def test_entries_are_read_with_and_without_encoding() -> None:
    assert parse_page(page("p/a+b%25"), 2) == [Entry("a+b%25", 2, "e0")]
    encoded = page("p/a+b%25%D0%AF", extra="<EncodingType>url</EncodingType>")
    assert parse_page(encoded, 2) == [Entry("a b%Я", 2, "e0")]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        page("p/a")[:-9],
        b"<Error><Code>InternalError</Code></Error>",
    ],
)
def test_answer_that_is_no_listing_is_refused(answer: bytes) -> None:
    with pytest.raises(Unavailable):
        parse_page(answer, 2)


async def test_pages_follow_one_another(threads: Threads) -> None:
    answers = {
        "": page("p/a", more="t&amp;1"),
        "t&1": page("p/b", more="t2"),
        "t2": page("p/c"),
    }
    assert await listed(answers, threads) == ["a", "b", "c"]


async def test_listing_cut_off_without_a_token_is_refused(threads: Threads) -> None:
    cut = page("p/a", more="x").replace(b"<NextContinuationToken>x</NextContinuationToken>", b"")
    with pytest.raises(Unavailable):
        await listed({"": cut}, threads)


async def test_listing_that_goes_round_is_refused(threads: Threads) -> None:
    with pytest.raises(Unavailable):
        await listed({"": page("p/a", more="t"), "t": page("p/b", more="t")}, threads)


def test_folder_spread_over_pages_is_one() -> None:
    grouping = Grouping()
    assert grouping.add([Entry("2026/11/24/03/a", 1, "e")]) == []
    (first,) = grouping.add(
        [Entry("2026/11/24/03/a.attr.json", 2, "f"), Entry("2026/11/24/04/b", 3, "g")]
    )
    assert (first.path, len(first.sidecars), list(first.blobs)) == ("2026/11/24/03", 1, [("a", 1)])
    (last,) = grouping.finish()
    assert last.path == "2026/11/24/04"


def test_listing_out_of_order_is_refused() -> None:
    with pytest.raises(Unavailable):
        Grouping().add([Entry("2026/11/24/04/b", 1, "e"), Entry("2026/11/24/03/a", 1, "e")])

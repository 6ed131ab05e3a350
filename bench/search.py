"""From upload to searchable, and filtered search over many rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc.aio

from artstore.v1 import ingest_pb2_grpc, query_pb2, query_pb2_grpc, types_pb2, uploads_pb2
from bench.calls import at_steady_rate
from bench.element import seconds
from bench.figures import Figure, Spread, percentile
from bench.goals import ROWS
from bench.meshes import Mesh

TABLE = "file_metadata_cache"
# No element of this name exists, so no follower touches its rows.
ELEMENT = "se-99"
UPLOADS_PER_SECOND = 20
PAGE_SIZE = 10
FAR_PAGE = 100
SEARCHES = 100
COMMON = ("report", "invoice", "contract", "letter", "minutes",
          "budget", "drawing", "offer", "protocol", "manual")  # fmt: skip
MIDDLING = 100
"""Words `m0` to `m99`: each in one row of a hundred."""
RARE_ROWS = 20
"""How many rows have the same rare word `r...`; a short one begins many others."""

_ROWS = f"""
INSERT INTO {TABLE} (
    file_id, storage_element_id, sequence, revision, state, namespace, original_filename,
    storage_filename, storage_path, size_bytes, content_type, sha256, created_at, created_by,
    updated_at, request_id, description, version, tags, attributes, retention_policy,
    retention_days, finalized_to, legal_hold)
SELECT
    lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000', '{ELEMENT}', n, 1, 'active',
    'default',
    ($3::text[])[n % 10 + 1] || ' m' || n % {MIDDLING} || ' r' || n % $4 || '.pdf',
    'stored_' || n || '.pdf', '2025/01/01/00', n % 1000000,
    (ARRAY['application/pdf', 'text/plain', 'image/png', 'application/zip'])[n % 7 % 4 + 1],
    repeat('0', 64), now() - n * interval '1 second', 'user-' || n % 50,
    now() - n * interval '1 second', '', 'Agreed with department ' || n % 30, '1.0',
    ARRAY['year-' || n % 11, 'team-' || n % 13], jsonb_build_object('project', 'p' || n % 200),
    'permanent', 0, '', false
FROM generate_series($1::bigint, $2::bigint) n
"""
_BATCH = 50_000


@dataclass(frozen=True, slots=True)
class _Searches:
    """A kind of search.

    Attributes:
        far: its matches reach to the far page.
        row: of the contract: its p95 in p95 of GetFile on query.
    """

    name: str
    words: Sequence[str]
    filters: query_pb2.SearchFilters
    far: bool = False
    row: str = ""


async def searchable(mesh: Mesh, *, upload_seconds: float) -> list[Figure]:
    """Seconds from an upload's answer until a search has the file, at a steady rate."""
    waited: list[float] = []
    async with (
        grpc.aio.insecure_channel(mesh.ingest) as ingest_channel,
        grpc.aio.insecure_channel(mesh.query) as query_channel,
    ):
        ingest: ingest_pb2_grpc.IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(
            ingest_channel
        )
        query: query_pb2_grpc.QueryServiceAsyncStub = query_pb2_grpc.QueryServiceStub(query_channel)

        async def one() -> None:
            word = f"w{time.perf_counter_ns()}"
            answer = await ingest.Upload(
                _small(f"{word}.txt"), metadata=await mesh.metadata(), timeout=30
            )
            answered = time.perf_counter()
            found = await query.SearchFiles(
                query_pb2.SearchFilesRequest(query=word, min_change_tokens=[answer.change_token]),
                metadata=await mesh.metadata(),
                timeout=30,
            )
            waited.append(time.perf_counter() - answered)
            if [hit.file.file_id for hit in found.results] != [answer.file.file_id]:
                raise RuntimeError(f"{word} was uploaded and not found")

        for _ in range(5):
            await one()
        waited.clear()
        await at_steady_rate(one, per_second=UPLOADS_PER_SECOND, seconds=upload_seconds)
    name = f"upload to searchable at {UPLOADS_PER_SECOND} uploads/s"
    return [
        Figure(f"{name}, p50, s", Spread.of([percentile(waited, 0.5)]), None, None, False),
        Figure(f"{name}, p99, s", Spread.of([percentile(waited, 0.99)]), 0.1, 0.02, False),
    ]


async def _small(name: str) -> Any:
    request = uploads_pb2.UploadRequest
    yield request(header=uploads_pb2.UploadHeader(original_filename=name, size_bytes=1))
    yield request(chunk=types_pb2.Chunk(data=b"x"))
    yield request(finish=uploads_pb2.UploadFinish(size_bytes=1))


async def filtered(mesh: Mesh, *, rows: int, rounds: int) -> list[Figure]:
    """p95 of filtered searches over `rows` rows, in seconds and in GetFile's p95 on query: words
    of all kinds, near and far pages.
    """
    uploaded = await mesh.client.upload(b"x", name="described.bin")
    await fill(mesh, rows)
    figures = []
    async with grpc.aio.insecure_channel(mesh.query) as channel:
        query: query_pb2_grpc.QueryServiceAsyncStub = query_pb2_grpc.QueryServiceStub(channel)
        for kind in _kinds(rows):
            name = f"filtered search over {rows:,} rows, {kind.name}"
            near = [
                await _p95(mesh, query, kind, {}, beside=uploaded.file_id) for _ in range(rounds)
            ]
            figures.append(_figure(f"{name}, page 1", [searched for searched, _ in near]))
            figures.append(
                _of_get_file(kind, name, [searched / described for searched, described in near])
            )
            if kind.far:
                tokens = {word: await _far_token(mesh, query, kind, word) for word in
                          dict.fromkeys(kind.words[:10])}  # fmt: skip
                far = [
                    await _p95(mesh, query, kind, tokens, beside=uploaded.file_id)
                    for _ in range(rounds)
                ]
                figures.append(
                    _figure(f"{name}, page {FAR_PAGE}", [searched for searched, _ in far])
                )
    return figures


def _kinds(rows: int) -> Sequence[_Searches]:
    pdf = query_pb2.SearchFilters(content_types=["application/pdf"])
    tagged = query_pb2.SearchFilters(tags=["year-3"], storage_element_ids=[ELEMENT])
    whole = rows // RARE_ROWS // 2
    common = [COMMON[n % 10] for n in range(SEARCHES)]
    far = PAGE_SIZE * FAR_PAGE
    return (
        _Searches(
            "rare word", [f"r{whole + n}" for n in range(SEARCHES)], pdf, row="search rare"
        ),
        _Searches("beginning of rare words", [f"r{n}" for n in range(SEARCHES)], pdf),
        _Searches(
            "middling word", [f"m{n % MIDDLING}" for n in range(SEARCHES)], pdf,
            rows // (4 * MIDDLING) > far,
        ),
        _Searches("common word", common, pdf, rows // 40 > far, row="search common"),
        _Searches("common word and tag", common, tagged),
        _Searches("filters alone", [""] * SEARCHES, tagged),
    )  # fmt: skip


def _of_get_file(kind: _Searches, name: str, values: Sequence[float]) -> Figure:
    if kind.row:
        return ROWS[kind.row].measured(values)
    return Figure(f"{name}, page 1, p95, of GetFile's on query", Spread.of(values))


def _figure(name: str, values: Sequence[float]) -> Figure:
    return Figure(f"{name}, p95, s", Spread.of(values), 0.05, 0.02, False)


async def _p95(
    mesh: Mesh, query: Any, kind: _Searches, tokens: dict[str, str], *, beside: str
) -> tuple[float, float]:
    """Of SEARCHES searches one after the other, each of a page that has results; and of GetFile
    of the file `beside`, one before each of them.
    """
    searched, described = [], []
    request = query_pb2.QueryServiceGetFileRequest(file_id=beside)
    for number in range(SEARCHES):
        word = kind.words[number]
        if tokens:
            word = list(tokens)[number % len(tokens)]
        metadata = await mesh.metadata()
        described.append(await seconds(query.GetFile(request, metadata=metadata)))
        searched.append(await seconds(_search(mesh, query, kind, word, tokens.get(word, ""))))
    return percentile(searched, 0.95), percentile(described, 0.95)


async def _search(
    mesh: Mesh, query: Any, kind: _Searches, word: str, token: str
) -> query_pb2.SearchFilesResponse:
    request = query_pb2.SearchFilesRequest(
        query=word, filters=kind.filters, page_size=PAGE_SIZE, page_token=token
    )
    answer: query_pb2.SearchFilesResponse = await query.SearchFiles(
        request, metadata=await mesh.metadata()
    )
    if not answer.results:
        raise RuntimeError(f"nothing was found for {request}")
    return answer


async def _far_token(mesh: Mesh, query: Any, kind: _Searches, word: str) -> str:
    token = ""
    for _ in range(FAR_PAGE - 1):
        token = (await _search(mesh, query, kind, word, token)).next_page_token
    return token


async def fill(mesh: Mesh, rows: int, *, first: int = 0) -> None:
    """Put rows into the index behind query's back; its indexes are made anew after that.

    Args:
        first: how many are there from an earlier call.
    """
    index = await asyncpg.connect(mesh.database("artstore_query"))
    try:
        made = await index.fetch(
            "SELECT indexname, indexdef FROM pg_indexes"
            " WHERE tablename = $1 AND indexname <> $1 || '_pkey'",
            TABLE,
        )
        for one in made:
            await index.execute(f"DROP INDEX {one['indexname']}")
        if not first:
            await index.execute(f"DELETE FROM {TABLE} WHERE storage_element_id = '{ELEMENT}'")
        for begin in range(first, rows, _BATCH):
            last = min(begin + _BATCH, rows) - 1
            await index.execute(_ROWS, begin, last, list(COMMON), max(rows // RARE_ROWS, 1))
        await index.execute("SET maintenance_work_mem = '512MB'")
        for one in made:
            await index.execute(one["indexdef"])
        await index.execute(f"VACUUM ANALYZE {TABLE}")
        # Else it is the writing of these rows to disk that is measured.
        await index.execute("CHECKPOINT")
    finally:
        await index.close()

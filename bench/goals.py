"""The floors and goals that reports show first: each has its row, measured or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure, Spread
from bench.processor import SHA256_AT


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, with its unit, and what it should come to."""

    name: str
    floor: float | None
    goal: float | None
    higher_is_better: bool = False

    def measured(self, values: Sequence[float]) -> Figure:
        """The figure of this row."""
        return Figure(self.name, Spread.of(values), self.floor, self.goal, self.higher_is_better)


_OF_SHA256 = f"us/MiB where SHA-256 takes {SHA256_AT}"
_US = f"us where a MiB of SHA-256 takes {SHA256_AT}"

ROWS: Mapping[str, Row] = {
    "element": Row(f"element, upload in memory, {_OF_SHA256}", 3000, 2400),
    "client": Row(f"client library, upload in memory, {_OF_SHA256}", 2400, 1800),
    "direct in memory": Row("upload direct of a bare stream, in memory", 0.45, 0.65, True),
    "direct on disk": Row("upload direct of a bare stream, on disk with fsync", 0.4, 0.55, True),
    "ingest in memory": Row("upload through ingest of a bare stream, in memory", 0.28, 0.42, True),
    "ingest on disk": Row(
        "upload through ingest of a bare stream, on disk with fsync", 0.28, 0.42, True
    ),
    "buildgrid in memory": Row(
        "upload direct of BuildGrid's ByteStream, in memory without its fsync", 1.0, 1.4, True
    ),
    "buildgrid on disk": Row(
        "upload direct of BuildGrid's ByteStream, on disk with our fsync", 1.5, 3.0, True
    ),
    "rebuild": Row(
        "rebuild from nothing of a bare scan + read + orjson + COPY, files/s", 0.35, 0.5, True
    ),
    "rebuild us": Row(
        f"rebuild from nothing, element + PostgreSQL, a file, {_US}",
        95,
        65,
    ),
    "reads": Row("GetFile p99 during rebuilds from nothing, of idle", 10, 2),
    "refused": Row("GetFile refused during rebuilds from nothing, calls", 0, 0),
    "followers": Row("followers' time of the rebuild's, rows unchanged", 2, 1),
    "query unchanged": Row(f"PostgreSQL, query's row unchanged, {_US}", 60, 25),
    "query new": Row(f"PostgreSQL, query's row new, {_US}", 250, 170),
    "admin unchanged": Row(f"PostgreSQL, admin's row unchanged, {_US}", 60, 25),
    "admin new": Row(f"PostgreSQL, admin's row new, {_US}", 250, 170),
    "s3 rebuild": Row("S3 rebuild from nothing of bare GETs, 64 at a time", 0.5, 0.8, True),
    "s3 manifests": Row("S3 rebuild from manifests of bare GETs, 64 at a time", None, 5, True),
    "s3 unchanged": Row("S3 rebuild unchanged of a bare listing, time", 2, 1.3),
    "s3 upload": Row("S3 upload of 64 MiB of a bare multipart upload", 0.5, 0.8, True),
    "s3 download": Row("S3 download of 64 MiB of a bare GET", 0.6, 0.85, True),
    "search rare": Row("search p95 of GetFile's p95 on query, rare word", 5, 3),
    "search common": Row("search p95 of GetFile's p95 on query, common word", 10, 5),
    "idle": Row("idle mesh, % of a core", 5, 2),
    "make test": Row("make test, min", 10, 6),
    "quick": Row("check QUICK when 0.1 % changed, of when all did", 0.2, 0.02),
    "check": Row("check FULL of a bare scandir + stat, time", 1.5, 1.1),
    "incremental": Row("incremental of a bare scandir + stat, time", 1.5, 1.1),
    "unchanged": Row("rebuild unchanged of a bare scandir + stat, time", 1.5, 1.1),
}

"""Sizes and times are read as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from artstore_client.cli.amounts import parse_duration, parse_moment, parse_size


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("0", 0), ("800", 800), ("7B", 7), ("10k", 10_000), ("2.5M", 2_500_000), ("1 GB", 10**9),
        ("64MiB", 64 * 2**20), ("1kib", 1024), ("3T", 3 * 10**12),
        ("9007199254740993", 2**53 + 1), (str(2**63 - 1), 2**63 - 1), ("0.7k", 700),
    ],
)  # fmt: skip
def test_a_size_may_have_a_unit(given: str, size: int) -> None:
    assert parse_size(given) == size


@pytest.mark.parametrize(
    "given", ["", "-1", "x", "1x", "1e3", "M", "1 2", "9" * 30, "9" * 400, f"{'9' * 400}k"]
)
def test_what_is_no_size_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_size(given)


def test_a_time_is_a_day_a_moment_or_so_long_ago() -> None:
    assert parse_moment("2026-01-31T12:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert parse_moment("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert parse_moment("2026-01-31") == datetime(2026, 1, 31).astimezone(UTC)
    for given, hours in (("12h", 12), ("30d", 720), ("2w", 336)):
        since = datetime.now(UTC) - timedelta(hours=hours)
        assert timedelta() <= parse_moment(given) - since < timedelta(minutes=1)


@pytest.mark.parametrize(
    "given", ["", "yesterday", "2026-13-01", "d", "9" * 12 + "w", "31.01.2026"]
)
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_moment(given)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90s", 90), ("15m", 900), ("12 h", 43200), ("30D", 2592000), ("2w", 1209600), ("0s", 0)],
)
def test_a_length_of_time_is_read(given: str, seconds: int) -> None:
    assert parse_duration(given) == seconds


@pytest.mark.parametrize("given", ["", "1", "h", "-1h", "1.5h", "1y", "9999999d"])
def test_what_is_no_length_of_time_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration(given)

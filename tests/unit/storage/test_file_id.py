"""Ids carry their time and are told from others without asking anybody."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.domain.file_id import is_canonical, new_file_id, time_of
from storage_server.domain.naming import folder_of, home_of

NOW = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)

times = st.datetimes(
    min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)
)


@given(times)
def test_an_id_carries_its_time_in_milliseconds(at: datetime) -> None:
    file_id = new_file_id(at)
    assert time_of(file_id) == at.replace(microsecond=at.microsecond // 1000 * 1000)


def test_an_id_is_a_uuid_of_version_7_as_rfc_9562_has_it() -> None:
    file_id = new_file_id(NOW)
    parsed = uuid.UUID(file_id)
    assert str(parsed) == file_id
    assert parsed.variant == uuid.RFC_4122
    assert parsed.version == 7


def test_ids_of_one_millisecond_differ() -> None:
    assert len({new_file_id(NOW) for _ in range(10_000)}) == 10_000


def test_ids_sort_by_time() -> None:
    assert new_file_id(NOW) < new_file_id(NOW + timedelta(milliseconds=1))


def test_a_time_zone_makes_no_difference() -> None:
    elsewhere = NOW.astimezone()
    assert time_of(new_file_id(elsewhere)) == time_of(new_file_id(NOW))


# Constant, so that every worker of a test run calls these tests by the same names.
MADE = "019c1d2e-3f40-7abc-8def-0123456789ab"


@pytest.mark.parametrize("days", [0, -365, 1.1, 365, -3000, 400_000])
def test_an_id_has_a_folder_however_absurd_its_time_is(days: float) -> None:
    made = NOW + timedelta(days=days)
    assert home_of(new_file_id(made)) == folder_of(made)


def test_an_id_of_1970_has_its_folder() -> None:
    assert home_of("00000000-0000-7abc-8def-0123456789ab") == "1970/01/01/00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        str(uuid.UUID(int=0)),
        "9b2f8a52-7a4c-4d6e-8f00-112233445566",
        MADE.upper(),
        MADE + "\n",
        " " + MADE,
        MADE.replace("-", ""),
        "{" + MADE + "}",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        MADE[:-1] + "１",
    ],
)
def test_what_no_element_makes_has_no_folder(text: str) -> None:
    assert home_of(text) is None


def test_an_id_of_another_version_has_no_time() -> None:
    adopted = str(uuid.uuid4())
    assert is_canonical(adopted)
    with pytest.raises(ValueError, match="UUIDv7"):
        time_of(adopted)

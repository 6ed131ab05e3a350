"""Elements that admin has read from a table: of a new mesh, or one that lost its database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from admin_server.clock import utc_now
from admin_server.elements import registered
from admin_server.elements.element import RegisteredElement, Report
from admin_server.elements.registered import RegisteredElements
from mesh.errors import NotFound, Unavailable
from mesh.redaction import without_quotes

REPORT = Report(
    storage_element_id="se-01",
    store_id="3f2b0c1e-7c65-4f9f-9b58-0d0a6d9c1a01",
    endpoint="127.0.0.1:8010",
    mode="edit",
    priority=100,
    capacity_bytes=10**9,
    used_bytes=0,
    reserved_bytes=0,
    file_count=0,
    fill_level="ok",
    writable=True,
    is_writer=True,
    backend="local",
    epoch="e1",
    sequence=0,
)


class Table:
    """A table that was made a moment ago."""

    def __init__(self) -> None:
        self.rows: dict[str, RegisteredElement] = {}

    async def read(self) -> list[RegisteredElement]:
        return []

    async def forgotten(self) -> frozenset[str]:
        return frozenset()

    async def write(self, elements: Any) -> None:
        assert list(elements) == []

    async def client_of(self, storage_element_id: str) -> str:
        return "storage-se-01"

    async def find(self, storage_element_id: str) -> RegisteredElement | None:
        return self.rows.get(storage_element_id)

    async def add(self, report: Report, *, reported_at: Any, now: Any) -> None:
        self.rows[report.storage_element_id] = RegisteredElement(
            report, reported_at, now, client_id="storage-se-01"
        )


def elements_of(table: Any, *, lost: bool) -> RegisteredElements:
    return RegisteredElements(table, now=utc_now, is_lost=lambda: lost)


async def test_in_a_mesh_that_is_new_there_is_no_element() -> None:
    elements = elements_of(Table(), lost=False)
    await elements.sync()
    assert elements.list() == []
    with pytest.raises(NotFound):
        elements.get("se-01")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("se-99", "there is no storage element se-99"),
        ("My secret.pdf", "there is no storage element '…'"),
    ],
)
async def test_a_log_line_tells_which_element_was_asked_for_if_it_is_the_name_of_one(
    asked: str, line: str
) -> None:
    elements = elements_of(Table(), lost=False)
    await elements.sync()
    with pytest.raises(NotFound) as refused:
        elements.get(asked)
    assert without_quotes(refused.value.message) == line


async def test_a_table_that_was_lost_says_nothing_until_elements_have_had_time_to_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(registered, "time", SimpleNamespace(monotonic=lambda: now))
    elements = elements_of(Table(), lost=True)
    await elements.sync()
    assert elements.loaded
    for _ in range(3):
        with pytest.raises(Unavailable):
            elements.list()
        with pytest.raises(Unavailable):
            elements.get("se-01")
        now += 1.9
        await elements.sync()
    now += 0.5
    assert elements.list() == []
    with pytest.raises(NotFound):
        elements.get("se-01")


async def test_the_first_element_that_reports_to_a_new_table_is_told_at_once() -> None:
    elements = elements_of(Table(), lost=True)
    await elements.sync()
    await elements.report(REPORT, "storage-se-01")
    assert [one.storage_element_id for one in elements.list()] == ["se-01"]

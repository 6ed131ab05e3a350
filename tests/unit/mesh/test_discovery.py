"""Admin's list of elements is read to its end, however many there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from artstore.v1.elements_pb2 import ListStorageElementsResponse, StorageElement
from mesh.elements.admitted import Admitted
from mesh.elements.discovery import AdminReports


class Account:
    async def ready(self, seconds: float) -> None:
        pass

    def metadata(self) -> tuple[()]:
        return ()


async def test_an_element_on_the_second_page_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def list_elements(request: Any, **_: Any) -> ListStorageElementsResponse:
        name = "se-02" if request.page_token else "se-01"
        return ListStorageElementsResponse(
            elements=[StorageElement(storage_element_id=name, endpoint="a:1")],
            next_page_token="" if request.page_token else "more",
        )

    stub = SimpleNamespace(ListStorageElements=list_elements)
    monkeypatch.setattr(
        "mesh.elements.discovery.elements_pb2_grpc.StorageElementServiceStub", lambda _: stub
    )
    account: Any = Account()
    nobody: Any = None
    reports = AdminReports(nobody, account, Admitted())
    assert [element.element_id for element in await reports.read()] == ["se-01", "se-02"]

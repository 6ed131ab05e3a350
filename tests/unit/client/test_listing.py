"""Lists of all elements, while files go from one to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from artstore.v1 import storage_pb2, types_pb2
from artstore_client.files.files import Files

Pages = Mapping[str, Sequence[Sequence[str]]]


def files_of(pages: Pages) -> Files:
    """Of a mesh whose elements list these ids, page by page."""

    async def all_elements() -> Sequence[str]:
        return list(pages)

    async def unary(
        element_id: str, request: storage_pb2.StorageServiceListFilesRequest, **_: object
    ) -> storage_pb2.StorageServiceListFilesResponse:
        number = int(request.page_token or 0)
        more = number + 1 < len(pages[element_id])
        return storage_pb2.StorageServiceListFilesResponse(
            files=[
                types_pb2.File(file_id=name, storage_element_id=element_id)
                for name in pages[element_id][number]
            ],
            next_page_token=str(number + 1) if more else "",
        )

    async def at_element(element_id: str, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        return await ask(SimpleNamespace(ListFiles=element_id))

    connection: Any = SimpleNamespace(
        calls=SimpleNamespace(unary=unary), all_elements=all_elements, at_element=at_element
    )
    return Files(connection)


async def test_a_file_that_moves_between_two_pages_is_shown_once() -> None:
    files = files_of({"se-01": [["a", "b"], ["c"]], "se-02": [["x"], ["b", "y"]]})
    shown = [(one.file_id, one.storage_element_id) async for one in files.list_files("", "", 2)]
    assert shown == [
        ("a", "se-01"),
        ("b", "se-01"),
        ("c", "se-01"),
        ("x", "se-02"),
        ("y", "se-02"),
    ]

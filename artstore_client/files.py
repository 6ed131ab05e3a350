"""Descriptions of files: one, many, all; and what changes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from google.protobuf import field_mask_pb2

from artstore.v1 import storage_pb2, types_pb2
from artstore_client import errors
from artstore_client.connection import Connection
from artstore_client.file_ids import canonical
from artstore_client.finding import find_file, verdict
from artstore_client.results import ElementReport

MOST_IDS_AT_ONCE = 1000


class Files:
    """Unary calls on files and elements, wherever a file is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = connection.calls

    async def stat(self, file_id: str) -> types_pb2.File:
        """The description of an active file; see `Client.stat`."""
        return (await find_file(self._connection, file_id))[1]

    async def get_many(self, file_ids: Sequence[str]) -> dict[str, types_pb2.File]:
        """Descriptions by id; see `Client.get_many`."""
        found: dict[str, types_pb2.File] = {}
        failures: dict[str, errors.ArtStoreError] = {}

        async def ask(element_id: str, endpoint: str, ids: Sequence[str]) -> None:
            stub = self._connection.storage_at(endpoint)
            request = storage_pb2.BatchGetFilesRequest(file_ids=ids)
            try:
                answer = await self._calls.unary(
                    stub.BatchGetFiles, request, doing=f"BatchGetFiles on {element_id}"
                )
            except errors.ArtStoreError as error:
                failures[element_id] = error
                return
            for file in answer.files:
                known = found.get(file.file_id)
                if known is None or known.state == types_pb2.FILE_STATE_MOVED:
                    found[file.file_id] = file

        unique = list(dict.fromkeys(file_ids))
        for start in range(0, len(unique), MOST_IDS_AT_ONCE):
            ids = unique[start : start + MOST_IDS_AT_ONCE]
            elements = await self._connection.elements()
            await asyncio.gather(*(ask(name, place, ids) for name, place in elements.items()))
            missing = [file_id for file_id in ids if canonical(file_id) not in found]
            if missing and failures:
                raise verdict(missing[0], failures)
        places = {file_id: canonical(file_id) for file_id in unique}
        return {file_id: found[place] for file_id, place in places.items() if place in found}

    async def list_files(
        self, element_id: str, namespace: str, page_size: int
    ) -> AsyncGenerator[types_pb2.File, None]:
        """Active files of one element or of all; see `Client.list_files`."""
        elements = [element_id] if element_id else list(await self._connection.elements())
        failures: dict[str, errors.Unavailable] = {}
        for name in elements:
            try:
                async for file in self._list_element(name, namespace, page_size):
                    yield file
            except errors.Unavailable as error:
                failures[name] = error
        if failures:
            told = "; ".join(f"{name}: {error.message}" for name, error in failures.items())
            raise errors.Unavailable(
                f"the list is incomplete ({told})",
                reason="LIST_INCOMPLETE",
                metadata={"storage_element_ids": ",".join(failures)},
            )

    async def _list_element(
        self, element_id: str, namespace: str, page_size: int
    ) -> AsyncGenerator[types_pb2.File, None]:
        stub = await self._connection.storage(element_id)
        token = ""
        while True:
            answer = await self._calls.unary(
                stub.ListFiles,
                storage_pb2.StorageServiceListFilesRequest(
                    page_size=page_size, page_token=token, namespace=namespace
                ),
                doing=f"ListFiles on {element_id}",
            )
            for file in answer.files:
                yield file
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self, file_id: str, changes: Mapping[str, object], expected_revision: int | None
    ) -> types_pb2.File:
        """Change the fields named in `changes`; see `Client.update`."""
        element_id, _ = await find_file(self._connection, file_id)
        stub = await self._connection.storage(element_id)
        answer = await self._calls.unary(
            stub.UpdateFile,
            storage_pb2.UpdateFileRequest(
                file_id=file_id,
                file=types_pb2.File(**changes),  # type: ignore[arg-type]
                update_mask=field_mask_pb2.FieldMask(paths=sorted(changes)),
                expected_revision=expected_revision,
            ),
            doing=f"UpdateFile on {element_id}",
        )
        self._connection.changes[element_id] = answer.change_token
        return answer.file

    async def delete(self, file_id: str, expected_revision: int | None) -> types_pb2.File:
        """Delete a file; see `Client.delete`."""
        element_id, _ = await find_file(self._connection, file_id)
        stub = await self._connection.storage(element_id)
        answer = await self._calls.unary(
            stub.DeleteFile,
            storage_pb2.DeleteFileRequest(file_id=file_id, expected_revision=expected_revision),
            doing=f"DeleteFile on {element_id}",
        )
        self._connection.changes[element_id] = answer.change_token
        return answer.file

    async def undelete(self, file_id: str, expected_revision: int | None) -> types_pb2.File:
        """Bring a deleted file back; see `Client.undelete`."""
        failures: dict[str, errors.ArtStoreError] = {}
        try:
            # Of a file with replicas the active one is meant, and it needs nothing done.
            candidates: Iterable[str] = [(await find_file(self._connection, file_id))[0]]
        except errors.NotFound:
            candidates = list(await self._connection.elements())
        for element_id in candidates:
            stub = await self._connection.storage(element_id)
            request = storage_pb2.UndeleteFileRequest(
                file_id=file_id, expected_revision=expected_revision
            )
            try:
                answer = await self._calls.unary(
                    stub.UndeleteFile, request, doing=f"UndeleteFile on {element_id}"
                )
            except errors.NotFound as error:
                failures[element_id] = error
                continue
            self._connection.changes[element_id] = answer.change_token
            return answer.file
        raise verdict(file_id, failures)

    async def elements(self) -> list[ElementReport]:
        """Every element's own report; see `Client.elements`."""

        async def ask(element_id: str, endpoint: str) -> ElementReport:
            stub = self._connection.storage_at(endpoint)
            try:
                answer = await self._calls.unary(
                    stub.GetElement,
                    storage_pb2.GetElementRequest(),
                    doing=f"GetElement on {element_id}",
                )
            except errors.ArtStoreError as error:
                return ElementReport(element_id, endpoint, error=error)
            return ElementReport(element_id, endpoint, element=answer.element)

        known = await self._connection.elements()
        return list(await asyncio.gather(*(ask(*item) for item in sorted(known.items()))))

    async def set_mode(
        self, element_id: str, mode: types_pb2.ElementMode.ValueType, confirm: bool
    ) -> types_pb2.StorageElement:
        """Change an element's mode; see `Client.set_mode`."""
        stub = await self._connection.storage(element_id)
        answer = await self._calls.unary(
            stub.SetMode,
            storage_pb2.SetModeRequest(mode=mode, confirm=confirm),
            doing=f"SetMode on {element_id}",
        )
        return answer.element

"""Descriptions of files: one, many, all; and what changes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from google.protobuf import field_mask_pb2

from artstore.v1 import elements_pb2, lifecycle_pb2, storage_pb2, types_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import of_each, pages
from artstore_client.contract import MAX_BATCH_FILE_IDS
from artstore_client.files.file_ids import canonical_file_id
from artstore_client.files.finding import find_file, verdict
from artstore_client.results import ElementReport


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
        unique = list(dict.fromkeys(file_ids))
        for start in range(0, len(unique), MAX_BATCH_FILE_IDS):
            await self._get_batch(unique[start : start + MAX_BATCH_FILE_IDS], found)
        names = {file_id: canonical_file_id(file_id) for file_id in unique}
        return {file_id: found[name] for file_id, name in names.items() if name in found}

    async def _get_batch(self, ids: Sequence[str], found: dict[str, types_pb2.File]) -> None:
        """Add to `found` what the elements have of `ids`.

        Raises:
            Unavailable: some are missing, and some element did not answer.
        """
        failures: dict[str, errors.ArtStoreError] = {}

        async def ask(element_id: str, wanted: Sequence[str]) -> None:
            request = storage_pb2.BatchGetFilesRequest(file_ids=wanted)
            try:
                answer = await self._connection.at_element(
                    element_id,
                    lambda stub: self._calls.unary(
                        stub.BatchGetFiles, request, doing=f"BatchGetFiles on {element_id}"
                    ),
                )
            except errors.ArtStoreError as error:
                failures[element_id] = error
                return
            for file in answer.files:
                known = found.get(file.file_id)
                if known is None or known.state == types_pb2.FILE_STATE_MOVED:
                    found[file.file_id] = file

        elements = set(await self._connection.elements())
        await asyncio.gather(*(ask(name, ids) for name in elements))
        missing = [file_id for file_id in ids if canonical_file_id(file_id) not in found]
        if missing:
            now = set(await self._connection.all_elements())
            await asyncio.gather(*(ask(name, missing) for name in now - elements))
            missing = [file_id for file_id in ids if canonical_file_id(file_id) not in found]
            failures = {name: error for name, error in failures.items() if name in now}
        if missing and failures:
            raise verdict(missing[0], failures, doubt=self._connection.directory.doubt)

    async def list_files(
        self, element_id: str, namespace: str, page_size: int
    ) -> AsyncGenerator[types_pb2.File, None]:
        """Active files of one element or of all; see `Client.list_files`."""
        elements = [element_id] if element_id else list(await self._connection.all_elements())

        def of_element(name: str) -> AsyncGenerator[types_pb2.File, None]:
            return self._list_element(name, namespace, page_size)

        async for file in of_each(elements, of_element):
            yield file

    async def _list_element(
        self, element_id: str, namespace: str, page_size: int
    ) -> AsyncGenerator[types_pb2.File, None]:
        async def ask(token: str) -> storage_pb2.StorageServiceListFilesResponse:
            request = storage_pb2.StorageServiceListFilesRequest(
                page_size=page_size, namespace=namespace, page_token=token
            )
            return await self._connection.at_element(
                element_id,
                lambda stub: self._calls.unary(
                    stub.ListFiles, request, doing=f"ListFiles on {element_id}"
                ),
            )

        async for page in pages(ask):
            for file in page.files:
                yield file

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
        except (errors.NotFound, errors.Unavailable):
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
            except (errors.NotFound, errors.Unavailable) as error:
                failures[element_id] = error
                continue
            self._connection.changes[element_id] = answer.change_token
            return answer.file
        raise verdict(file_id, failures, doubt=self._connection.directory.doubt)

    async def elements(self) -> list[ElementReport]:
        """Every element's own report; see `Client.elements`."""
        return list(await asyncio.gather(*map(self.report, await self._connection.all_elements())))

    async def report(self, element_id: str) -> ElementReport:
        """One element's own report, or why there is none."""
        directory = self._connection.directory
        try:
            answer = await self._connection.at_element(
                element_id,
                lambda stub: self._calls.unary(
                    stub.GetElement,
                    storage_pb2.GetElementRequest(),
                    doing=f"GetElement on {element_id}",
                ),
            )
        except errors.ArtStoreError as error:
            return ElementReport(
                element_id,
                directory.place(element_id),
                error=error,
                last_report=directory.last_report(element_id),
            )
        return ElementReport(element_id, directory.place(element_id), element=answer.element)

    async def set_legal_hold(self, file_id: str, legal_hold: bool, reason: str) -> types_pb2.File:
        """Hold a file, or not any more; see `Client.set_legal_hold`."""
        answer = await self._calls.unary(
            self._connection.lifecycle().SetLegalHold,
            lifecycle_pb2.SetLegalHoldRequest(
                file_id=file_id, legal_hold=legal_hold, reason=reason
            ),
            doing="SetLegalHold on admin",
        )
        self._connection.changes[answer.file.storage_element_id] = answer.change_token
        return answer.file

    async def set_mode(
        self, element_id: str, mode: types_pb2.ElementMode.ValueType, confirm: bool
    ) -> elements_pb2.StorageElement:
        """Change an element's mode; see `Client.set_mode`."""
        request = storage_pb2.SetModeRequest(mode=mode, confirm=confirm)
        answer = await self._connection.at_element(
            element_id,
            lambda stub: self._calls.unary(stub.SetMode, request, doing=f"SetMode on {element_id}"),
        )
        return answer.element

"""Descriptions of files: one, many, all; and what changes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TypeAlias

from google.protobuf import field_mask_pb2

from artstore.v1 import elements_pb2, lifecycle_pb2, storage_pb2, storage_pb2_grpc, types_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import of_each, pages
from artstore_client.contract import MAX_BATCH_FILE_IDS
from artstore_client.files.changing import at_home
from artstore_client.files.file_ids import canonical_file_id
from artstore_client.files.finding import Finding, find_file, verdict
from artstore_client.files.home import in_reading_order
from artstore_client.files.replicas import replica_of
from artstore_client.results import ElementReport

_Stub: TypeAlias = "storage_pb2_grpc.StorageServiceAsyncStub"


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
        told: dict[str, dict[str, types_pb2.File]] = {}

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
                told.setdefault(file.file_id, {})[element_id] = file

        elements = set(await self._connection.elements())
        await asyncio.gather(*(ask(name, ids) for name in elements))
        missing = [file_id for file_id in ids if canonical_file_id(file_id) not in told]
        if missing:
            now = set(await self._connection.all_elements())
            await asyncio.gather(*(ask(name, missing) for name in now - elements))
            missing = [file_id for file_id in ids if canonical_file_id(file_id) not in told]
            failures = {name: error for name, error in failures.items() if name in now}
        if missing and failures:
            raise verdict(missing[0], failures, doubt=self._connection.directory.doubt)
        for file_id, files in told.items():
            await self._keep_home(file_id, files, found)

    async def _keep_home(
        self, file_id: str, told: Mapping[str, types_pb2.File], found: dict[str, types_pb2.File]
    ) -> None:
        """Add to `found` the file that readers see, of what elements told of it."""
        known = [replica_of(file, name) for name, file in told.items()]
        order = in_reading_order(known)
        if order and order[0].state == "active":
            found[file_id] = told[order[0].element_id]
            return
        # Without its home: whether that was deleted is not among these answers.
        with suppress(errors.NotFound):
            found[file_id] = await self.stat(file_id)

    async def list_files(
        self, element_id: str, namespace: str, page_size: int
    ) -> AsyncGenerator[types_pb2.File, None]:
        """Active files of one element or of all; see `Client.list_files`.

        A file that goes from one element to another meanwhile is shown as it was first met; it is
        left out if it goes to an element that has been listed from one that is still to be. What
        was listed is kept in memory by its id, some 150 bytes for each file.
        """
        elements = [element_id] if element_id else list(await self._connection.all_elements())

        def of_element(name: str) -> AsyncGenerator[types_pb2.File, None]:
            return self._list_element(name, namespace, page_size)

        # One that moves meanwhile is shown where it was and where it comes to.
        shown: set[str] = set()
        async with aclosing(of_each(elements, of_element)) as files:
            async for file in files:
                if file.file_id not in shown:
                    shown.add(file.file_id)
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
        request = storage_pb2.UpdateFileRequest(
            file_id=file_id,
            file=types_pb2.File(**changes),  # type: ignore[arg-type]
            update_mask=field_mask_pb2.FieldMask(paths=sorted(changes)),
            expected_revision=expected_revision,
        )

        async def change(stub: _Stub, element_id: str) -> storage_pb2.UpdateFileResponse:
            doing = f"UpdateFile on {element_id}"
            return await self._calls.unary(stub.UpdateFile, request, doing=doing)

        # Kept longer, a file that has expired is there again.
        longer = "retention_days" in changes
        element_id, answer = await at_home(self._connection, file_id, change, show_expired=longer)
        self._connection.changes.note(element_id, answer.change_token)
        return answer.file

    async def delete(self, file_id: str, expected_revision: int | None) -> types_pb2.File:
        """Delete a file; see `Client.delete`."""
        request = storage_pb2.DeleteFileRequest(
            file_id=file_id, expected_revision=expected_revision
        )

        async def change(stub: _Stub, element_id: str) -> storage_pb2.DeleteFileResponse:
            doing = f"DeleteFile on {element_id}"
            return await self._calls.unary(stub.DeleteFile, request, doing=doing)

        element_id, answer = await at_home(self._connection, file_id, change)
        self._connection.changes.note(element_id, answer.change_token)
        return answer.file

    async def undelete(
        self, file_id: str, expected_revision: int | None, retention_days: int | None = None
    ) -> types_pb2.File:
        """Bring a deleted file back; see `Client.undelete` and `RetentionCalls.restore`."""
        request = storage_pb2.UndeleteFileRequest(
            file_id=file_id,
            expected_revision=expected_revision,
            retention_days=retention_days,
        )

        async def change(stub: _Stub, element_id: str) -> storage_pb2.UndeleteFileResponse:
            doing = f"UndeleteFile on {element_id}"
            return await self._calls.unary(stub.UndeleteFile, request, doing=doing)

        # Of a file that is there its home is meant, and it needs nothing done.
        finding = Finding(self._connection, file_id, show_expired=True)
        home = await finding.speaking()
        if not home:
            raise finding.verdict()
        element_id, answer = await at_home(self._connection, file_id, change, element_id=home)
        self._connection.changes.note(element_id, answer.change_token)
        return answer.file

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
        self._connection.changes.note(answer.file.storage_element_id, answer.change_token)
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

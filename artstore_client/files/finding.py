"""Which element has a file: its home by the registry, then its copies, else all are asked at once.

Where a file went is followed. Before it is said that a file is nowhere, admin is asked whether
there are elements that were not asked yet: a mesh grows while its clients are connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from artstore.v1 import storage_pb2, storage_pb2_grpc, types_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.files.home import Replica, follow, has_ended, home, in_reading_order
from artstore_client.files.replicas import registered_replicas, replica_of
from artstore_client.times import moment

Failures = dict[str, errors.ArtStoreError]

# A file that moves may slip by those who ask one element after the other: so often all are asked.
ROUNDS = 3
ROUND_SECONDS = 0.2

_TO_READ = (types_pb2.FILE_STATE_ACTIVE, types_pb2.FILE_STATE_COPY)
_NO_HOME = frozenset({types_pb2.FILE_STATE_MOVED, types_pb2.FILE_STATE_COPY})


async def find_file(
    connection: Connection, file_id: str, *, show_expired: bool = False
) -> tuple[str, types_pb2.File]:
    """(element id, description) of a file that readers see: from its home, else from a copy or
    from where it was before.

    Args:
        show_expired: a file that has expired and was not collected yet, too.

    Raises:
        NotFound: every element answered that it has no such file, or it was deleted, or its home
            answered that it has expired; of a silent home a copy's text says that.
        Unavailable: none has it, but some did not answer.
        ArtStoreError: none has it, and an element refused to say.
    """
    finding = Finding(connection, file_id, show_expired=show_expired)
    registered = registered_replicas(await connection.registered(file_id))
    for one in in_reading_order(registered):
        found = await finding.follow(one.element_id)
        if found is not None:
            return found
        if finding.has_expired or finding.has_ended(registered):
            raise finding.verdict()
    return await finding.everywhere()


class Finding:
    """Looks for one file, and keeps what elements said of it.

    Args:
        show_expired: a file that has expired and was not collected yet, too.

    Attributes:
        files: by element: the description there, tombstones too.
        failures: by element: what it said instead.
    """

    def __init__(self, connection: Connection, file_id: str, *, show_expired: bool = False) -> None:
        self._connection = connection
        self._file_id = file_id
        self._show_expired = show_expired
        self.files: dict[str, types_pb2.File] = {}
        self.failures: Failures = {}

    @property
    def told(self) -> list[Replica]:
        """What is known of it on each element that has anything to say."""
        stubs = [
            Replica(name, "gone", 0, 0, error.metadata["moved_to"])
            for name, error in self.failures.items()
            if error.metadata.get("moved_to")
        ]
        return [*(replica_of(file, name) for name, file in self.files.items()), *stubs]

    @property
    def has_expired(self) -> bool:
        """Whether a home says so: no copy knows."""
        return any(error.reason == "EXPIRED" for error in self.failures.values())

    def has_ended(self, registered: Iterable[Replica] = ()) -> bool:
        """Whether it was deleted.

        Args:
            registered: what is believed of elements that were not asked.
        """
        told = self.told
        names = {one.element_id for one in told} | self.failures.keys()
        return has_ended([*told, *(one for one in registered if one.element_id not in names)])

    async def follow(self, element_id: str) -> tuple[str, types_pb2.File] | None:
        """Ask an element, then the one that it sends to; None when neither gives the file."""
        while element_id:
            file = await self._ask(element_id)
            if file is not None and file.state in _TO_READ and not self._is_over(file):
                return element_id, file
            told = {one.element_id: one for one in self.told}
            asked = dict.fromkeys(self.failures, -1) | {n: r.home_since for n, r in told.items()}
            element_id = follow(told[element_id], asked) if element_id in told else ""
        return None

    async def everywhere(self) -> tuple[str, types_pb2.File]:
        """Ask every element that has not answered yet; raises as `find_file`."""
        for number in range(ROUNDS):
            found = await self._ask_all() or self._best()
            if found is not None:
                return found
            leads = any(error.metadata.get("moved_to") for error in self.failures.values())
            if not leads or self.has_expired or self.has_ended():
                break
            if number + 1 < ROUNDS:
                await asyncio.sleep(ROUND_SECONDS)
                self.failures.clear()
        else:
            raise errors.Unavailable(
                f"file {self._file_id} is on its way to another element, which has not got it yet."
                f" {errors.Unavailable.advice}",
                reason="SWITCHING",
            )
        raise self.verdict()

    async def speaking(self) -> str:
        """The element that speaks for the file, a tombstone too; empty when none that answers
        does.
        """
        await self._ask_all(first=False)
        found = home(self.told)
        return found.element_id if found is not None else ""

    def verdict(self) -> errors.ArtStoreError:
        """What it means that no element gives it."""
        ended: Failures = {
            name: errors.NotFound("deleted", reason="FILE_DELETED")
            for name, file in self.files.items()
            if file.state == types_pb2.FILE_STATE_DELETED
        }
        ended |= {
            name: errors.NotFound("over", reason="EXPIRED")
            for name, file in self.files.items()
            if self._is_over(file)
        }
        doubt = self._connection.directory.doubt
        return verdict(self._file_id, self.failures | ended, doubt=doubt)

    async def _ask_all(self, *, first: bool = True) -> tuple[str, types_pb2.File] | None:
        looked = False
        while True:
            known = await self._connection.elements()
            rest = known.keys() - self.failures.keys() - self.files.keys()
            if not rest and looked:
                break
            if not rest:
                looked = True
                await self._connection.directory.look()
                continue
            found = await self._race(rest, first=first)
            if found is not None:
                return found
        # The look may have told that one is no part of the mesh any more.
        self.failures = {name: e for name, e in self.failures.items() if name in known}
        return None

    def _best(self) -> tuple[str, types_pb2.File] | None:
        for one in in_reading_order(self.told)[:1]:
            file = self.files[one.element_id]
            if file.state == types_pb2.FILE_STATE_ACTIVE:
                return one.element_id, file
            if not self.has_expired and not self._is_over(file):
                return one.element_id, file
        return None

    async def _race(
        self, element_ids: Iterable[str], *, first: bool
    ) -> tuple[str, types_pb2.File] | None:
        """Ask all of them at once; the first home wins, and the others are cancelled."""
        tasks = {asyncio.ensure_future(self._ask(name)): name for name in sorted(element_ids)}
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    file = task.result()
                    if first and file is not None and self._is_home(file):
                        return tasks[task], file
            return None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _is_home(self, file: types_pb2.File) -> bool:
        return file.state == types_pb2.FILE_STATE_ACTIVE and not self.has_ended()

    def _is_over(self, file: types_pb2.File) -> bool:
        """Whether a replica that is no home has expired by its text: its home may know better."""
        if self._show_expired or file.state not in _NO_HOME or file.legal_hold:
            return False
        ends = moment(file.expires_at) if file.HasField("expires_at") else None
        return ends is not None and ends <= datetime.now(UTC)

    async def _ask(self, element_id: str) -> types_pb2.File | None:
        """What the element says; its tombstones count, and its errors are kept."""
        try:
            file = await self._get(element_id, show_deleted=self._show_expired)
        except errors.ArtStoreError as error:
            self.failures[element_id] = error
            if error.reason != "FILE_DELETED":
                return None
        else:
            self.files[element_id] = file
            return file
        # How late its tombstone is: a file elsewhere may be later. Asked for tombstones at once it
        # would show a file that has expired, too.
        try:
            self.files[element_id] = await self._get(element_id, show_deleted=True)
        except errors.ArtStoreError as error:
            self.failures[element_id] = error
            return None
        del self.failures[element_id]
        return self.files[element_id]

    async def _get(self, element_id: str, *, show_deleted: bool) -> types_pb2.File:
        request = storage_pb2.StorageServiceGetFileRequest(
            file_id=self._file_id, show_deleted=show_deleted
        )

        async def get(stub: storage_pb2_grpc.StorageServiceAsyncStub) -> types_pb2.File:
            answer = await self._connection.calls.unary(
                stub.GetFile, request, doing=f"GetFile on {element_id}"
            )
            return answer.file

        return await self._connection.at_element(element_id, get)


def verdict(file_id: str, failures: Failures, *, doubt: str = "") -> errors.ArtStoreError:
    """What it means that no element gave the file.

    Only when every element says that it has not got it, or one that it was deleted or has expired,
    it is not there.

    Args:
        doubt: why there may be elements that were not asked.
    """
    deleted = [e for e, error in failures.items() if error.reason == "FILE_DELETED"]
    if deleted:
        return errors.NotFound(
            f"file {file_id} on {', '.join(sorted(deleted))} was deleted. While it is in the"
            f" trash `artstore restore {file_id}` brings it back.",
            reason="FILE_DELETED",
        )
    expired = [e for e, error in failures.items() if error.reason == "EXPIRED"]
    if expired:
        return errors.NotFound(
            f"the retention of file {file_id} on {', '.join(sorted(expired))} has ended. Until it"
            " is collected `artstore keep` brings it back, and then, while it is in the trash,"
            " `artstore restore --days`.",
            reason="EXPIRED",
        )
    unsure = {
        element: error
        for element, error in failures.items()
        if not isinstance(error, errors.NotFound)
    }
    if not unsure:
        asked = ", ".join(sorted(failures))
        but = f" Elements added lately were not asked: {doubt}" if doubt else ""
        return errors.NotFound(
            f"no file {file_id} on {asked}. {errors.NotFound.advice}{but}", reason="FILE_NOT_FOUND"
        )
    silent = {e: error for e, error in unsure.items() if isinstance(error, errors.Unavailable)}
    if len(silent) < len(unsure):
        return next(error for element, error in unsure.items() if element not in silent)
    told = "; ".join(f"{element}: {error.message}" for element, error in sorted(silent.items()))
    return errors.Unavailable(
        f"file {file_id} may be on an element that did not answer ({told})",
        retry_after_seconds=max(error.retry_after_seconds for error in silent.values()),
        reason="ELEMENT_UNAVAILABLE",
        metadata={"storage_element_ids": ",".join(sorted(silent))},
    )

"""Keeping files for longer, those that have expired too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from artstore.v1 import types_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.files.files import Files
from artstore_client.files.finding import find_file
from artstore_client.times import moment

MAX_RETENTION_DAYS = 3_650
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """What `keep` came to: the file then, and whether it was kept that long before."""

    file: types_pb2.File
    was_so_already: bool


class RetentionCalls:
    """How long files are kept; get it from `Client.retention`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._files = Files(connection)

    async def keep(self, file_id: str, days: int) -> Kept:
        """Have a temporary file kept for at least so many days from now, and less than one more.

        One that has expired is there again, unless it was collected. One that is kept longer
        already stays as it is.

        Args:
            days: at least 1.

        Raises:
            NotFound: no such file, or it was deleted or collected.
            FailedPrecondition: it is permanent (reason PERMANENT), or that is longer than a file
                may be kept from when its days are counted (reason RETENTION).
            InvalidArgument: longer than the policy of its namespace allows.
        """
        if days < 1:
            raise errors.InvalidArgument("days is 1 or more", reason="INVALID_ARGUMENT")
        _, file = await find_file(self._connection, file_id, show_expired=True)
        if file.retention_policy == types_pb2.RETENTION_POLICY_PERMANENT:
            raise errors.FailedPrecondition(
                f"file {file.file_id} is permanent: it is kept until somebody deletes it",
                reason="PERMANENT",
            )
        wanted = datetime.now(UTC) + days * _DAY
        ends = moment(file.expires_at)
        if ends is not None and ends >= wanted:
            return Kept(file, was_so_already=True)
        begun = counted_from(file)
        total = math.ceil((wanted - begun) / _DAY)
        if total > MAX_RETENTION_DAYS:
            latest = begun + MAX_RETENTION_DAYS * _DAY
            raise errors.FailedPrecondition(
                f"file {file.file_id} can be kept until {latest:%Y-%m-%d}: {MAX_RETENTION_DAYS:,}"
                f" days from {begun:%Y-%m-%d} on, and no longer as a temporary file",
                reason="RETENTION",
            )
        changed = await self._files.update(file_id, {"retention_days": total}, None)
        return Kept(changed, was_so_already=False)

    async def restore(self, file_id: str, retention_days: int) -> types_pb2.File:
        """Bring back a deleted file, or one that has expired, and keep it for so many days from
        now; does nothing to an active one.

        Raises:
            NotFound: there is none, or its bytes are gone.
            InvalidArgument: the file is permanent, or its namespace's policy allows fewer days.
        """
        return await self._files.undelete(file_id, None, retention_days)


def counted_from(file: types_pb2.File) -> datetime:
    """From when the days of a temporary file are counted."""
    begun, ends = moment(file.created_at), moment(file.expires_at)
    begun = begun or datetime.fromtimestamp(0, UTC)
    if ends is None or not 0 < file.retention_days <= 10 * MAX_RETENTION_DAYS:
        return begun
    return max(begun, ends - file.retention_days * _DAY)

"""The head of the chain in a file of the data folder, out of reach of who has the database only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import structlog

from admin_server.audit.chain import Chain, Head
from mesh.errors import FailedPrecondition
from mesh.identity.kept import write_kept

KEEP_SECONDS = 2.0

_log = structlog.stdlib.get_logger(__name__)


class KeptHead:
    """Run `keep` from time to time. A chain that has not what was kept is never kept instead.

    After a restore of admin's database from a backup that is right: verification names the first
    event that is gone, until somebody who knows of it deletes the file.
    """

    def __init__(self, path: Path, chain: Chain) -> None:
        self._path = path
        self._chain = chain
        self._told = False

    async def read(self) -> Head | None:
        """What was kept last; None when there is nothing.

        Raises:
            FailedPrecondition: the file is there, and cannot be read.
        """
        return await asyncio.to_thread(self._read)

    async def keep(self) -> None:
        """Keep the head as it is now, if the chain has what was kept before.

        Raises:
            Unavailable: the database does not answer.
        """
        try:
            before, head = await self.read(), await self._chain.head()
        except FailedPrecondition as exc:
            if not self._told:
                self._told = True
                _log.error(exc.message)
            return
        if before is not None and before.sequence:
            if before == head:
                return
            if await self._chain.hash_at(before.sequence) != before.hash:
                self._tell(before)
                return
        self._told = False
        try:
            await asyncio.to_thread(self._write, head)
        except OSError as exc:
            _log.warning("the audit's head is not kept", path=str(self._path), reason=str(exc))

    def _tell(self, before: Head) -> None:
        if not self._told:
            self._told = True
            _log.error(
                "the audit lacks an event that it had; if admin's database was restored, delete"
                " the file",
                sequence=before.sequence,
                path=str(self._path),
            )

    def _read(self) -> Head | None:
        try:
            found = orjson.loads(self._path.read_bytes())
            return Head(int(found["sequence"]), bytes.fromhex(found["hash"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise FailedPrecondition(
                f"the audit's kept head {self._path} cannot be read ({exc}), so nobody knows what"
                " the audit had: mend it, or if you know why, delete it"
            ) from exc

    def _write(self, head: Head) -> None:
        text = orjson.dumps({"sequence": head.sequence, "hash": head.hash.hex()}).decode()
        write_kept(self._path, text)

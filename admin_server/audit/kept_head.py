"""The head of the chain in a file of the data folder, out of reach of who has the database only."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from admin_server.audit.chain import Chain, Head

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
        """What was kept last; None when there is nothing, or nothing readable."""
        return await asyncio.to_thread(self._read)

    async def keep(self) -> None:
        """Keep the head as it is now, if the chain has what was kept before.

        Raises:
            Unavailable: the database does not answer.
        """
        before, head = await self.read(), await self._chain.head()
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
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = orjson.loads(self._path.read_bytes())
            return Head(int(found["sequence"]), bytes.fromhex(found["hash"]))
        return None

    def _write(self, head: Head) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        fresh.write_bytes(orjson.dumps({"sequence": head.sequence, "hash": head.hash.hex()}))
        fresh.replace(self._path)

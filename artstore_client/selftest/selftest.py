"""Twelve checks of a running mesh, on scratch files of its own in a scratch namespace.

Nobody else's file or row is changed but in one way: a full rebuild reads every sidecar of the
element again and so renews all rows. What would remove a row of somebody is not done: a rebuild
where rows have no sidecar, a cleanup where rows have expired. No row can be made to expire by a
call, so incremental, cleanup and lazy refresh are watched at work that leaves all as it is.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from artstore.v1 import types_pb2
from artstore_client import errors
from artstore_client.client import Client
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.selftest.cache_checks import CacheChecks
from artstore_client.selftest.findings import Failed, Skipped, expect
from artstore_client.selftest.scratch import Scratch

DEFAULT_LIMIT_SECONDS = 60.0
_FIRST_BYTES = 1024 * 1024 + 7
_SECOND_BYTES = 4096


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: how it ended, its time in seconds, and what was seen or missed, in words."""

    name: str
    outcome: Outcome
    seconds: float
    seen: str


class SelfTest:
    """Runs the checks with one client; use it once.

    Args:
        element_id: whose cache is tested. Default: where ingest puts the first file.
        namespace: where scratch files go. Default: a new one.
        limit_seconds: the longest time of one check.

    Attributes:
        scratch: the scratch files; its `left` names those that could not be removed.
    """

    def __init__(
        self,
        client: Client,
        *,
        element_id: str = "",
        namespace: str = "",
        limit_seconds: float = DEFAULT_LIMIT_SECONDS,
    ) -> None:
        self._client = client
        self._limit_seconds = limit_seconds
        self.scratch = Scratch(client, element_id, namespace)
        self._cache = CacheChecks(client, self.scratch, limit_seconds)
        upload, rebuild = "upload through ingest", "full rebuild"
        self._checks: tuple[tuple[str, str, Callable[[], Awaitable[str]]], ...] = (
            (upload, "", self._upload),
            ("download", upload, self._download),
            ("metadata", upload, self._metadata),
            ("list", upload, self._list),
            ("check", "", self._cache.check),
            ("incremental rebuild", "", self._cache.incremental),
            (rebuild, "check", self._cache.rebuild),
            ("cleanup", rebuild, self._cache.cleanup),
            ("competing locks", rebuild, self._cache.competing_locks),
            ("second upload", "", self._second_upload),
            ("search", upload, self._search),
            ("lazy refresh", upload, self._cache.lazy_refresh),
        )

    @property
    def names(self) -> list[str]:
        """Names of the checks, in their order."""
        return [name for name, _, _ in self._checks]

    @property
    def element_id(self) -> str:
        """The element whose cache is tested."""
        return self.scratch.element_id

    async def run(self, told: Callable[[CheckResult], None]) -> list[CheckResult]:
        """Run all checks, one after the other, and remove the scratch files at the end.

        Args:
            told: called with each result as soon as it is there.

        Raises:
            PermissionDenied: the account is no ADMIN, or may not write the namespace.
            ArtStoreError: no element can be asked at all.
        """
        results: dict[str, CheckResult] = {}
        try:
            await self.scratch.choose_element()
            await self._ask_for_permission()
            for name, needs, check in self._checks:
                results[name] = await self._result(name, needs, check, results)
                told(results[name])
        except errors.PermissionDenied as error:
            raise errors.PermissionDenied(
                "selftest needs an account of role ADMIN that may write namespace"
                f" {self.scratch.namespace}: {error.message}",
                reason=error.reason,
                metadata=error.metadata,
            ) from None
        finally:
            await self.scratch.remove()
        return list(results.values())

    async def _ask_for_permission(self) -> None:
        """Find out before anything is stored, at the first element that can tell.

        Raises:
            PermissionDenied: the account may not do what follows.
            Unavailable: no element answers.
        """
        silent: errors.Unavailable | None = None
        known = await self._client.element_ids()
        for element_id in sorted(known, key=self.element_id.__ne__):
            try:
                await self._client.cache(element_id).locks()
            except errors.Unavailable as error:
                # With a reason it did answer: it lacks something, which the checks will tell.
                if error.reason:
                    return
                silent = error
            else:
                return
        if silent is not None:
            raise silent

    async def _result(
        self,
        name: str,
        needs: str,
        check: Callable[[], Awaitable[str]],
        results: dict[str, CheckResult],
    ) -> CheckResult:
        if needs and results[needs].outcome is not Outcome.PASSED:
            return CheckResult(name, Outcome.SKIPPED, 0.0, f"needs {needs}")
        started = time.monotonic()
        outcome = Outcome.FAILED
        try:
            async with asyncio.timeout(self._limit_seconds):
                seen = await check()
            outcome = Outcome.PASSED
        except Skipped as reason:
            outcome, seen = Outcome.SKIPPED, str(reason)
        except errors.PermissionDenied:
            raise
        except TimeoutError:
            seen = f"not done within {self._limit_seconds:g} s"
        except (Failed, errors.ArtStoreError, OSError) as error:
            seen = str(error)
        return CheckResult(name, outcome, time.monotonic() - started, seen)

    async def _upload(self) -> str:
        file = await self.scratch.put("first", secrets.token_bytes(_FIRST_BYTES))
        seen = f"{file.size_bytes} bytes to {file.storage_element_id}"
        if self.scratch.files_here:
            return seen
        await self.scratch.put_straight("straight", secrets.token_bytes(_SECOND_BYTES))
        return f"{seen}, and another file straight to {self.element_id}"

    async def _download(self) -> str:
        for file_id, content in self.scratch.contents.items():
            got = bytearray()
            async with aclosing(self._client.download(file_id)) as parts:
                async for part in parts:
                    got += part
            expect(got == content, f"{file_id} came back with other bytes")
        return f"{len(self.scratch.contents)} file(s), the bytes that were sent"

    async def _metadata(self) -> str:
        for file in self.scratch.files_here:
            found = await self._client.stat(file.file_id)
            expect(
                (found.sha256, found.size_bytes) == (file.sha256, file.size_bytes),
                f"{file.file_id} is described as another file",
            )
            expect(found.HasField("cache_updated_at"), "cache_updated_at is not set")
            expect(found.cache_ttl_hours > 0, "cache_ttl_hours is not set")
            expect(not found.cache_expired, "the row is expired after it was read")
            expect(not found.cache_stale, "the row is stale")
        at = found.cache_updated_at.ToJsonString()
        return f"cache_updated_at {at}, cache_ttl_hours {found.cache_ttl_hours}"

    async def _list(self) -> str:
        """All elements are asked, unless one was named: one that is down is the mesh's trouble."""
        asked = self.element_id if self.scratch.named else ""
        listed: dict[str, types_pb2.File] = {}
        async with aclosing(
            self._client.list_files(asked, namespace=self.scratch.namespace)
        ) as files:
            async for file in files:
                listed[file.file_id] = file
        missing = [file.file_id for file in self.scratch.files_here if file.file_id not in listed]
        expect(not missing, f"not in the list: {', '.join(missing)}")
        where = asked or "all elements"
        return f"{len(listed)} file(s) of {self.scratch.namespace} on {where}"

    async def _second_upload(self) -> str:
        before = set(self.scratch.contents)
        file = await self.scratch.put("second", secrets.token_bytes(_SECOND_BYTES))
        expect(file.file_id not in before, "it has the id of the first file")
        found = await self._client.get_many([*before, file.file_id])
        expect(len(found) == len(before) + 1, "not all files are there after it")
        return f"{file.size_bytes} bytes to {file.storage_element_id}, beside {len(before)} file(s)"

    async def _search(self) -> str:
        page = await self._client.search(
            self.scratch.word,
            page_size=MAX_PAGE_SIZE,
            min_change_tokens=self.scratch.change_tokens,
            timeout_seconds=self._limit_seconds,
        )
        found = {result.file.file_id for result in page.results}
        missing = set(self.scratch.contents) - found
        expect(not missing, f"not found by a word of their names: {', '.join(sorted(missing))}")
        complete = "complete" if page.index_complete else "not complete"
        return f"{len(found)} file(s) by a word of their names, the index is {complete}"

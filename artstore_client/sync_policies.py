"""`RetentionCalls` and `PolicyCalls` for scripts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore_client.policies import PolicyCalls
from artstore_client.retention import Kept, RetentionCalls

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class SyncRetentionCalls:
    """`RetentionCalls`, each call waiting for its answer."""

    def __init__(self, calls: RetentionCalls, run: Run) -> None:
        self._calls = calls
        self._run = run

    def keep(self, file_id: str, days: int) -> Kept:
        """`RetentionCalls.keep`."""
        kept: Kept = self._run(self._calls.keep(file_id, days))
        return kept

    def restore(self, file_id: str, retention_days: int) -> types_pb2.File:
        """`RetentionCalls.restore`."""
        file: types_pb2.File = self._run(self._calls.restore(file_id, retention_days))
        return file


class SyncPolicyCalls:
    """`PolicyCalls`, each call waiting for its answer."""

    def __init__(self, calls: PolicyCalls, run: Run) -> None:
        self._calls = calls
        self._run = run

    def get(self, namespace: str) -> lifecycle_pb2.Policy:
        """`PolicyCalls.get`."""
        policy: lifecycle_pb2.Policy = self._run(self._calls.get(namespace))
        return policy

    def set(self, policy: lifecycle_pb2.Policy) -> lifecycle_pb2.Policy:
        """`PolicyCalls.set`."""
        told: lifecycle_pb2.Policy = self._run(self._calls.set(policy))
        return told

    def list(self) -> Sequence[lifecycle_pb2.Policy]:
        """`PolicyCalls.list`, all of them."""
        found: Sequence[lifecycle_pb2.Policy] = self._run(self._all())
        return found

    async def _all(self) -> Sequence[lifecycle_pb2.Policy]:
        return [policy async for policy in self._calls.list()]

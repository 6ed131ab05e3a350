"""Several calls at the same time, of which the first error ends all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def side_by_side(calls: Sequence[Coroutine[Any, Any, T]]) -> Sequence[T]:
    """The results of `calls` in their order. When one fails the others are cancelled, and its
    own exception is raised, not a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]

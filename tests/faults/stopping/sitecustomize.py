"""Lets a server of the mesh stop at a named step, so that a test can kill whom it wants just then.

Python imports this at its start from a folder that only a test puts into PYTHONPATH: the product
knows nothing of it. `tests/faults/stops.py` asks for stops and waits for them.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = "stops"
# Methods of classes by module: each call passes two points, before and after.
METHODS = {
    "storage_server.writing.recording": ("Recording.write_sidecar", "Recording.write_row"),
    "storage_server.steps.pulling": ("Pulling._bytes", "Pulling._commit"),
    "storage_server.steps.arriving": ("Arriving.open", "Arriving.end", "ArrivingStage.append"),
    "storage_server.store.local": ("LocalStore.delete_blob",),
    "storage_server.store.s3": ("S3Store.delete_blob",),
    "admin_server.transfers.table": ("TransferTable.add",),
    "admin_server.transfers.queue": (
        "TransferQueue.copies",
        "TransferQueue.switches",
        "TransferQueue.completed",
    ),
    "admin_server.life.homes": ("HomeSteps.begin", "HomeSteps.end"),
    "admin_server.life.stepping": ("Stepping.take",),
}


def who_am_i() -> str:
    """The server's name in mesh.json, or admin-PORT of a further admin."""
    element = os.environ.get("ARTSTORE_ELEMENT_ID")
    if element:
        return element
    port = os.environ.get("ARTSTORE_PORT", "8000")
    return "admin" if port == "8000" else f"admin-{port}"


def passed(point: str) -> None:
    """Stop here if a test has asked for it, until it lets the process go on or kills it."""
    folder = os.environ.get("ARTSTORE_DATA_DIR")
    if not folder:
        return
    asked = Path(folder, FOLDER, who_am_i())
    try:
        wanted = json.loads(asked.read_text())
    except (OSError, ValueError):
        return
    if wanted["point"] != point:
        return
    if wanted["times"] > 1:
        asked.write_text(json.dumps({**wanted, "times": wanted["times"] - 1}))
        return
    asked.rename(asked.with_name(f"{asked.name}.reached"))
    os.kill(os.getpid(), signal.SIGSTOP)


def _with_points(owner: type, name: str) -> None:
    method: Callable[..., Any] = getattr(owner, name)

    @wraps(method)
    async def through(*arguments: Any, **named: Any) -> Any:
        passed(f"before {owner.__name__}.{name}")
        answer = await method(*arguments, **named)
        passed(f"after {owner.__name__}.{name}")
        return answer

    setattr(owner, name, through)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in METHODS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for each in METHODS[name]:
                    owner, _, method = each.partition(".")
                    _with_points(getattr(module, owner), method)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Finder())

"""Elements as ingest and followers see them."""

from __future__ import annotations

from typing import Any

from mesh.elements.seen import Mode, SeenElement

NOW = 1_800_000_000.0


def an_element(element_id: str = "se-01", **changes: Any) -> SeenElement:
    values: dict[str, Any] = {
        "element_id": element_id,
        "endpoint": "localhost:1",
        "mode": Mode.EDIT,
        "priority": 100,
        "capacity_bytes": 1000,
        "used_bytes": 0,
        "reserved_bytes": 0,
        "writable": True,
        "is_writer": True,
        "full": False,
        "reported_at": NOW,
        "heard_at": NOW,
    }
    return SeenElement(**values | changes)

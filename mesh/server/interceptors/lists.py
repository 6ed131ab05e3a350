"""How long the lists of a request are, before anybody looks at what they hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh.errors import ResourceExhausted
from mesh.identity.call_limits import BATCHES, COUNTED_ELSEWHERE, MethodLimits

ListCheck = Callable[[Any, MethodLimits], None]


@cache
def check_of(descriptor: Descriptor) -> ListCheck | None:
    """What raises ResourceExhausted for a message whose lists are too long; None: it has none."""
    return _check_of(descriptor, ())


def _check_of(descriptor: Descriptor, above: tuple[Descriptor, ...]) -> ListCheck | None:
    if descriptor in above:
        return None
    found = (_check_of_field(field, (*above, descriptor)) for field in descriptor.fields)
    checks = [one for one in found if one is not None]
    if not checks:
        return None

    def check(message: Any, limits: MethodLimits) -> None:
        for one in checks:
            one(message, limits)

    return check


def _check_of_field(field: FieldDescriptor, above: tuple[Descriptor, ...]) -> ListCheck | None:
    name = field.name
    kind = field.message_type
    is_map = kind is not None and kind.GetOptions().map_entry
    within = None if kind is None or is_map else _check_of(kind, above)
    if field.full_name in COUNTED_ELSEWHERE:
        return None
    if field.is_repeated:
        is_batch = field.full_name in BATCHES

        def check_list(message: Any, limits: MethodLimits) -> None:
            items = getattr(message, name)
            most = limits.batch_items if is_batch else limits.list_items
            if len(items) > most:
                raise _too_many(name, most)
            if within is not None:
                for item in items:
                    within(item, limits)

        return check_list
    if within is None:
        return None
    check_within = within

    def check_one(message: Any, limits: MethodLimits) -> None:
        if message.HasField(name):
            check_within(getattr(message, name), limits)

    return check_one


def _too_many(field: str, most: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"{field} has at most {most} entries: ask in several calls",
        reason="TOO_MANY_ITEMS",
        metadata={"field": field, "max_items": str(most)},
    )

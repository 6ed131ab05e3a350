"""What of an element a caller is told: how many files there are in all namespaces, and to the byte
how large they are, if it reads all; what tells one store or history from another, if it is a server
or an ADMIN.
"""

from __future__ import annotations

from artstore.v1 import elements_pb2
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role

# Room is reserved in such steps for uploads of unknown size; how full an element is stays told.
_STEP_BYTES = 64 * 2**20
_WHO_TELLS_STORES_APART = frozenset({Role.SERVICE, Role.ADMIN})


def sees_histories(caller: Caller) -> bool:
    """Whether store ids and epochs of feeds are for this caller."""
    return caller.role in _WHO_TELLS_STORES_APART


def counts_all(caller: Caller) -> bool:
    """Whether it may know how many files and changes there are in all namespaces together."""
    return ALL_NAMESPACES in caller.namespaces_read


def told_to(caller: Caller, element: elements_pb2.StorageElement) -> elements_pb2.StorageElement:
    """`element` without what is not for this caller."""
    if not sees_histories(caller):
        element.store_id = element.epoch = element.awaiting_store_id = ""
        element.ClearField("client_id")
        element.ClearField("followers_behind")
    if not counts_all(caller):
        element.file_count = element.head_position = 0
        # To the byte they would say how large each file of the others is.
        element.used_bytes = _rounded(element.used_bytes, element.capacity_bytes)
        element.reserved_bytes = _rounded(element.reserved_bytes, element.capacity_bytes)
    return element


def _rounded(size_bytes: int, capacity_bytes: int) -> int:
    """Up to whole steps, as far as there is room for one."""
    return max(size_bytes, min(-(-size_bytes // _STEP_BYTES) * _STEP_BYTES, capacity_bytes))

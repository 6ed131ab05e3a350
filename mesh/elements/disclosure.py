"""What of an element a caller is told: how many files there are in all namespaces, if it reads all;
what tells one store or history from another, if it is a server or an ADMIN.
"""

from __future__ import annotations

from artstore.v1 import elements_pb2
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role

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
    return element

"""Following the change feeds of the storage elements into a table of replicas.

Admin's file registry and query's search index are both such tables. A follower keeps a cursor
per element, applies changes and cursor in one transaction, removes nothing that the element
does not itself declare gone, and starts over with a snapshot whenever its cursor is not part
of the element's history.
"""

from mesh.follower.cursor import Cursor, Lead, SyncStatus
from mesh.follower.fleet import FollowerFleet
from mesh.follower.follower import ElementFollower
from mesh.follower.progress import Progress
from mesh.follower.replicas import ReplicaTable, SnapshotRun
from mesh.follower.writing import CursorMoved, process_name

__all__ = [
    "Cursor",
    "CursorMoved",
    "ElementFollower",
    "FollowerFleet",
    "Lead",
    "Progress",
    "ReplicaTable",
    "SnapshotRun",
    "SyncStatus",
    "process_name",
]

"""Messages as what is decided by of a file's replicas."""

from __future__ import annotations

from artstore.v1 import registry_pb2, types_pb2
from artstore_client.files.home import Replica

_PREFIX = "FILE_STATE_"


def replica_of(file: types_pb2.File, element_id: str) -> Replica:
    """A file as that element describes it."""
    since = file.home_since if file.HasField("home_since") else file.created_at.ToMilliseconds()
    return Replica(element_id, _word(file.state), since, file.revision, file.moved_to)


def registered_replicas(
    answer: registry_pb2.FileRegistryServiceGetFileResponse,
) -> list[Replica]:
    """What the registry knows of a file."""
    made_at = answer.file.created_at.ToMilliseconds()
    return [
        Replica(
            one.storage_element_id,
            _word(one.state),
            one.home_since if one.HasField("home_since") else made_at,
            one.revision,
        )
        for one in answer.replicas
    ]


def _word(state: types_pb2.FileState.ValueType) -> str:
    """`active` of FILE_STATE_ACTIVE; a number of one that is not known here."""
    names = types_pb2.FileState.DESCRIPTOR.values_by_number
    return names[state].name.removeprefix(_PREFIX).lower() if state in names else str(state)

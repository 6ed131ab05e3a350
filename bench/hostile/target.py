"""What attackers are told of the mesh, or of the sink in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

SERVERS = ("admin", "ingest", "query", "storage")


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses and what a hostile account knows.

    Attributes:
        endpoints: host:port of each of `SERVERS`; storage is one element.
        user_token, reader_token: of hostile accounts with the roles USER and READONLY.
        victim: the account of somebody else at which secrets are guessed.
        file_id: a large file that both may read.
        change_token: of its upload.
    """

    endpoints: Mapping[str, str]
    user_token: str
    reader_token: str
    victim: str
    file_id: str
    change_token: str

    def at(self, address: str) -> Target:
        """The same with one server in the place of all."""
        return replace(self, endpoints=dict.fromkeys(SERVERS, address))

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, line: str) -> Target:
        """Undo `as_json`."""
        return cls(**json.loads(line))

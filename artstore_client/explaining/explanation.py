"""A file, explained: what was seen of it, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.explaining.looking import Looking
from artstore_client.explaining.next_steps import Step, next_steps
from artstore_client.explaining.placement import Placement, placement
from artstore_client.explaining.seen import Seen, Verdict
from artstore_client.files.finding import verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say of one file.

    Attributes:
        seen: what the servers said, and what they did not say and why.
        placement: why it is on its element; None when no element that answered has it.
        next_steps: what happens next: what holds now first, then by time.
        explained_at: by this machine's clock; what times are relative to.
    """

    seen: Seen
    placement: Placement | None
    next_steps: tuple[Step, ...]
    explained_at: datetime

    @property
    def error(self) -> errors.ArtStoreError | None:
        """What `Client.stat` would raise of a file that no element has; None of another."""
        if self.seen.verdict not in (Verdict.UNKNOWN, Verdict.UNSURE):
            return None
        failures = {
            one.storage_element_id: one.error or errors.NotFound("no such file")
            for one in self.seen.elements
        }
        return verdict(self.seen.file_id, failures, doubt=self.seen.doubt)


def explained(seen: Seen, now: datetime) -> Explanation:
    """What follows from what was seen."""
    return Explanation(seen, placement(seen), next_steps(seen, now), now)


async def explain(connection: Connection, file_id: str) -> Explanation:
    """Look at a file from all sides. It changes nothing: no cache entry is refreshed.

    A server that is silent, or that does not serve a call or refuses it to the account, leaves a
    gap that is named in `Seen`; also a file that no element has is explained (`error`).

    Args:
        file_id: in any spelling that requests understand.

    Raises:
        ConfigurationError: no storage element is known.
        Unauthenticated: the account or its token is not good.
        Unavailable: no storage element is known, and admin does not answer.
    """
    seen = await Looking(connection).at(file_id)
    return explained(seen, datetime.now(UTC))

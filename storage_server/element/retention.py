"""How long this element keeps files: by its clock, and by the policies of their namespaces."""

from __future__ import annotations

from datetime import datetime, timedelta

from mesh.errors import NotFound
from mesh.identity.policies import Policies
from storage_server.domain.retention import (
    DEFAULT_RETENTION_DAYS,
    MAX_RETENTION_DAYS,
    expired,
    has_ended,
    is_expired,
)
from storage_server.domain.sidecar import Sidecar
from storage_server.element.clock import Clock


class Retention:
    """Says what has expired, and how long a namespace's files may be kept.

    While this machine's clock is wrong the others' time counts, and if none of them is heard this
    one's: nothing that expires by a clock in doubt is lost, since collecting it asks the clock
    again.

    Args:
        trash_days: of namespaces whose policy does not say it.
    """

    def __init__(self, clock: Clock, policies: Policies, *, trash_days: float) -> None:
        self._clock = clock
        self._policies = policies
        self._trash_days = trash_days

    def now(self) -> datetime:
        """The time that files expire by."""
        return self._clock.agreed_time()

    def is_expired(self, sidecar: Sidecar) -> bool:
        """Whether it is of a home that users do not find any more."""
        return is_expired(sidecar, self.now())

    def why_expired(self, sidecar: Sidecar) -> NotFound | None:
        """What users are answered of a file that has expired; None of others."""
        return expired(sidecar.file_id, sidecar.expires_at) if self.is_expired(sidecar) else None

    def require_current(self, sidecar: Sidecar) -> None:
        """
        Raises:
            NotFound: the file has expired; reason EXPIRED.
        """
        if (refusal := self.why_expired(sidecar)) is not None:
            raise refusal

    def has_ended(self, sidecar: Sidecar) -> bool:
        """Whether its retention is over, whatever its state."""
        return has_ended(sidecar, self.now())

    def default_days(self, namespace: str) -> int:
        """Days that a temporary file is kept unless it is said."""
        chosen = self._policies.of(namespace).default_retention_days or DEFAULT_RETENTION_DAYS
        return min(chosen, self.longest_days(namespace))

    def longest_days(self, namespace: str) -> int:
        """The most days that may be asked for."""
        return self._policies.of(namespace).max_retention_days or MAX_RETENTION_DAYS

    def trash(self, namespace: str) -> timedelta:
        """How long the bytes of a deleted file wait in the trash."""
        days = self._policies.of(namespace).trash_days
        return timedelta(days=self._trash_days if days is None else days)

    @property
    def trash_unless_set(self) -> timedelta:
        """`trash` of namespaces whose policy does not say it."""
        return timedelta(days=self._trash_days)

    def trash_that_was_set(self) -> dict[str, timedelta]:
        """`trash` of the namespaces whose policy says it."""
        return {
            namespace: timedelta(days=policy.trash_days)
            for namespace, policy in self._policies.all_set.items()
            if policy.trash_days is not None
        }

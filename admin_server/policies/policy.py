"""What a policy may say."""

from __future__ import annotations

from mesh.contract import MAX_NAMESPACE_BYTES
from mesh.errors import InvalidArgument
from mesh.identity.policies import Policy

DEFAULT_RETENTION_DAYS = 30
MAX_RETENTION_DAYS = 3_650
MAX_COPIES = 5
# As long as a file can be kept at all.
MAX_TRASH_DAYS = MAX_RETENTION_DAYS
MAX_QUOTA_BYTES = 2**63 - 1

_RANGES = {
    "default_retention_days": (1, MAX_RETENTION_DAYS),
    "max_retention_days": (1, MAX_RETENTION_DAYS),
    "copies": (1, MAX_COPIES),
    "max_copies": (1, MAX_COPIES),
    "trash_days": (0, MAX_TRASH_DAYS),
    "quota_bytes": (0, MAX_QUOTA_BYTES),
}
# What is taken unless it is said must be no more than what may be said.
_WITHIN = {"default_retention_days": "max_retention_days", "copies": "max_copies"}


def require_namespace(namespace: str) -> None:
    """
    Raises:
        InvalidArgument: no namespace is named so.
    """
    usable = namespace.strip() == namespace and namespace.isprintable() and "*" not in namespace
    if not namespace or not usable or len(namespace.encode()) > MAX_NAMESPACE_BYTES:
        raise InvalidArgument(
            f"namespace is 1 to {MAX_NAMESPACE_BYTES} bytes of printable text without `*`",
            field="policy.namespace",
        )


def require_good(policy: Policy) -> None:
    """
    Raises:
        InvalidArgument: a value is out of range; `field` names it.
    """
    require_namespace(policy.namespace)
    for name, (least, most) in _RANGES.items():
        value = getattr(policy, name)
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"{name} is {least:,} to {most:,}", field=f"policy.{name}")
    for name, bound in _WITHIN.items():
        value, most = getattr(policy, name), getattr(policy, bound)
        if value is not None and most is not None and value > most:
            raise InvalidArgument(f"{name} is more than {bound}, {most:,}", field=f"policy.{name}")

"""What holds for the files of each namespace, as an ADMIN has set it.

Admin's list, followed by the elements (`mesh.calls.policy_list`) and kept on disk beside the keys:
what was told last counts while admin is away, also after a restart.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType

import structlog

from mesh.identity.kept import write_kept

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """Of one namespace; None is the default.

    Attributes:
        default_retention_days: that a temporary file is kept unless its header says otherwise.
        max_retention_days: the most that a header or a change may ask for.
        copies: that are wanted unless a header says otherwise.
        max_copies: the most that a header may ask for.
        trash_days: that a deleted file's bytes wait in the trash; 0 is none.
        quota_bytes: that its files may take; None is no limit.
        used_bytes: that its files take, as admin counted them last.
    """

    namespace: str
    default_retention_days: int | None = None
    max_retention_days: int | None = None
    copies: int | None = None
    max_copies: int | None = None
    trash_days: int | None = None
    quota_bytes: int | None = None
    used_bytes: int = 0

    @classmethod
    def of(cls, found: dict[str, object]) -> Policy:
        """From what `asdict` makes.

        Raises:
            ValueError: it is something else.
        """
        numbers = {name: value for name, value in found.items() if name != "namespace"}
        known = {field.name for field in fields(cls)}
        if not isinstance(found.get("namespace"), str) or not found.keys() <= known:
            raise ValueError("not a policy")
        if any(value is not None and type(value) is not int for value in numbers.values()):
            raise ValueError("not a policy")
        return cls(**found)  # type: ignore[arg-type]


class Policies:
    """The policies as they are known now; none is set before the first list.

    Args:
        path: file that they survive a restart in; None keeps them in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._by_namespace: dict[str, Policy] = {}
        self._kept: dict[str, Policy] = {}
        if path is not None:
            self._load(path)

    def of(self, namespace: str) -> Policy:
        """What holds for a namespace."""
        return self._by_namespace.get(namespace) or Policy(namespace)

    @property
    def all_set(self) -> MappingProxyType[str, Policy]:
        """Those that were set, by namespace."""
        return MappingProxyType(self._by_namespace)

    def take(self, found: Iterable[Policy]) -> None:
        """Go by what admin says."""
        self._by_namespace = {one.namespace: one for one in found}

    async def keep(self) -> None:
        """Write what is known to disk, if it is not there.

        Raises:
            OSError: it can't be kept; it counts all the same.
        """
        known = self._by_namespace
        if self._path is None or known == self._kept:
            return
        text = json.dumps([asdict(one) for one in known.values()])
        await asyncio.to_thread(write_kept, self._path, text)
        self._kept = known

    def _load(self, path: Path) -> None:
        try:
            self.take([Policy.of(one) for one in json.loads(path.read_bytes())])
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as exc:
            _log.warning("kept policies not readable", path=str(path), reason=str(exc))
        self._kept = self._by_namespace

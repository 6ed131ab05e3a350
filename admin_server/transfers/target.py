"""Where a transfer goes: the element that was named, or the one that Sequential Fill takes."""

from __future__ import annotations

import time
from collections.abc import Collection

from admin_server.elements.element import RegisteredElement
from admin_server.elements.registered import RegisteredElements
from admin_server.transfers.transfer import Kind
from artstore.v1.types_pb2 import File, RetentionPolicy
from mesh.elements.seen import Mode, SeenElement
from mesh.elements.selection import choose
from mesh.errors import (
    ArtStoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

FIELD = "target_storage_element_id"
_MODES = {"edit": Mode.EDIT, "rw": Mode.RW}


class Targets:
    """Chooses among the elements as they report themselves."""

    def __init__(self, elements: RegisteredElements) -> None:
        self._elements = elements

    def named(self, element_id: str, *, modes: Collection[Mode]) -> str:
        """The element of that name.

        Args:
            modes: those that take the file.

        Raises:
            InvalidArgument: there is no such element.
            FailedPrecondition: reason MODE; its mode takes no such file.
            Unavailable: it is not admitted at the moment.
        """
        try:
            element = self._elements.get(element_id)
        except NotFound as exc:
            raise InvalidArgument(exc.message, field=FIELD) from exc
        mode = _MODES.get(element.report.mode, Mode.OTHER)
        if mode not in modes:
            wanted = " or ".join(sorted(mode.value for mode in modes))
            raise FailedPrecondition(
                f"storage element {element_id} is in mode {element.report.mode or '(unknown)'}, and"
                f" the file goes to one in mode {wanted}",
                reason="MODE",
                metadata={"mode": element.report.mode},
            )
        if not element.endpoint:
            raise Unavailable(
                f"storage element {element_id} is sent nothing: its account is suspended or"
                " deleted, or it has not reported yet"
            )
        return element_id

    @staticmethod
    def mode_for(kind: Kind, file: File) -> Mode:
        """The mode of the elements that a file goes to when none is named."""
        is_kept = file.retention_policy == RetentionPolicy.RETENTION_POLICY_PERMANENT
        return Mode.RW if kind is Kind.FINALIZE or is_kept else Mode.EDIT

    def chosen(
        self, mode: Mode, *, size_bytes: int, but: Collection[str], any_mode: bool = False
    ) -> str:
        """The first that has room, in the order of Sequential Fill.

        Args:
            but: not these: where the file is, and what has refused it.
            any_mode: the caller may name one in another mode.

        Raises:
            FailedPrecondition: reason NO_ELEMENT; there is none.
            ResourceExhausted: reason NO_SPACE; none has room.
            Unavailable: those that have room can't take it at the moment.
        """
        now = time.monotonic()
        others = [
            self._seen(element, now)
            for element in self._elements.joined()
            if element.storage_element_id not in but
        ]
        choice = choose(others, mode=mode, size_bytes=size_bytes, now=now)
        if choice.candidates:
            return choice.candidates[0].element_id
        if choice.waiting or choice.full:
            raise _nobody_now(mode, size_bytes, dict(choice.waiting))
        raise _nobody(mode, any_mode=any_mode)

    def _seen(self, element: RegisteredElement, now: float) -> SeenElement:
        report = element.report
        healthy = self._elements.is_healthy(element)
        return SeenElement(
            element_id=element.storage_element_id,
            endpoint=element.endpoint,
            mode=_MODES.get(report.mode, Mode.OTHER),
            priority=element.priority,
            capacity_bytes=report.capacity_bytes,
            used_bytes=report.used_bytes,
            reserved_bytes=report.reserved_bytes,
            writable=report.writable and bool(element.endpoint),
            is_writer=report.is_writer,
            full=report.fill_level == "full",
            reported_at=element.reported_at.timestamp(),
            unwritable_reason=report.unwritable_reason,
            healthy=healthy,
            heard_at=now if healthy else float("-inf"),
        )


def _nobody_now(mode: Mode, size_bytes: int, waiting: dict[str, str]) -> ArtStoreError:
    if waiting:
        told = "; ".join(f"{name}: {why}" for name, why in sorted(waiting.items()))
        return Unavailable(
            f"no storage element takes the file at the moment ({told})",
            reason="ELEMENT_UNAVAILABLE",
            metadata={"storage_element_ids": ",".join(sorted(waiting))},
        )
    return ResourceExhausted(
        f"no element in mode {mode} has room for {size_bytes} bytes: delete files, or add an"
        " element",
        reason="NO_SPACE",
    )


def _nobody(mode: Mode, *, any_mode: bool) -> FailedPrecondition:
    otherwise = ", or name one in another mode: `artstore move ID --to se-NN`" if any_mode else ""
    return FailedPrecondition(
        f"there is no other storage element in mode {mode} that the file could go to: start one"
        f" with ARTSTORE_MODE={mode}{otherwise}",
        reason="NO_ELEMENT",
        metadata={"mode": str(mode)},
    )

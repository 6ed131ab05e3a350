"""Asks one element after the other until one takes the upload."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from artstore.v1 import uploads_pb2
from ingest_server.metrics import refusals
from ingest_server.placement.suspects import Suspects
from ingest_server.uploads.header import declared_size, mode_for
from ingest_server.uploads.pins import Pin, Pins
from mesh.elements.seen import Mode, SeenElement
from mesh.elements.selection import Choice, choose
from mesh.elements.view import ElementView
from mesh.errors import (
    Aborted,
    ArtStoreError,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
)

T = TypeVar("T")

# What says "not here" and leaves open that another element takes it. Whatever else an element
# answers, every element would.
_REFUSALS = (ResourceExhausted, FailedPrecondition, Unavailable)
# The account's and the namespace's, which no other element would see otherwise.
_EVERYWHERE = frozenset({"TOO_MANY_UPLOADS", "QUOTA"})
# What of the room is an account's is counted at each element by itself.
_SHARE = "UPLOAD_SHARE"
_ROUNDS = 3

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """An upload that an element has taken.

    Attributes:
        opened: what the attempt answered.
        pin: that of its request_id; None when it has none, or Redis is away.
    """

    element: SeenElement
    opened: T
    pin: Pin | None


class Placement:
    """Sequential Fill, as it goes: the view's order, refusals, and pinned requests."""

    def __init__(self, elements: ElementView, pins: Pins, suspects: Suspects) -> None:
        self._elements = elements
        self._pins = pins
        self._suspects = suspects

    async def place(
        self,
        header: uploads_pb2.UploadHeader,
        subject: str,
        attempt: Callable[[SeenElement], Awaitable[T]],
        discard: Callable[[T], Awaitable[None]],
    ) -> Placed[T]:
        """Open an upload on the first element that takes it.

        Args:
            subject: whose request_id it is.
            attempt: opens the upload on an element, or raises what that answered.
            discard: ends an opened upload that turned out to belong elsewhere.

        Raises:
            FailedPrecondition: reason NO_ELEMENT, no element of the file's mode exists.
            ResourceExhausted: reason NO_SPACE, they exist and none has room; TOO_MANY_UPLOADS or
                UPLOAD_SHARE, the account's limits; QUOTA, the namespace's.
            Unavailable: waiting can help: an element that has room is down, silent or can't
                write at the moment, or did not take it, or the one that may have the file of
                this request_id does not answer.
            ArtStoreError: an element answered what every element would.
        """
        pinned = ""
        if header.request_id:
            pinned = await self._pins.find(subject, header.request_id)
        for _ in range(_ROUNDS):
            element, opened = await self._first_willing(header, pinned, attempt)
            if not header.request_id:
                return Placed(element, opened, None)
            instead_of = pinned if element.element_id != pinned else ""
            try:
                pin = await self._pins.take(
                    subject, header.request_id, element.element_id, instead_of=instead_of
                )
            except BaseException:
                await discard(opened)
                raise
            if pin is None or pin.element_id == element.element_id:
                return Placed(element, opened, pin)
            await discard(opened)
            pinned = pin.element_id
        raise Aborted("other uploads with this request_id are under way", reason="TAKEN_OVER")

    async def unpin(self, pin: Pin) -> None:
        """Free the request_id of an upload of which nothing was stored."""
        await self._pins.release(pin)

    async def _first_willing(
        self,
        header: uploads_pb2.UploadHeader,
        pinned: str,
        attempt: Callable[[SeenElement], Awaitable[T]],
    ) -> tuple[SeenElement, T]:
        choice = await self._choose(header)
        refused: list[tuple[SeenElement, ArtStoreError]] = []
        for element in await self._order(choice, pinned):
            try:
                opened = await attempt(element)
            except _REFUSALS as exc:
                self._note(element, exc)
                if exc.reason in _EVERYWHERE:
                    raise
                if element.element_id == pinned and isinstance(exc, Unavailable):
                    raise Unavailable(
                        f"storage element {pinned} may have the file of this request_id "
                        f"and does not take the call: {exc.message}"
                    ) from exc
                refused.append((element, exc))
                continue
            self._suspects.mend(element)
            return element, opened
        raise nobody_takes(
            choice,
            refused,
            mode=mode_for(header),
            size_bytes=declared_size(header),
            listed=self._elements.listed,
        )

    async def _choose(self, header: uploads_pb2.UploadHeader) -> Choice:
        await self._elements.ready()
        choice = self._choice(header)
        if not (choice.candidates or choice.full or choice.waiting):
            # One that was started a moment ago is on admin's list before it is on ours.
            await self._elements.look()
            choice = self._choice(header)
        return choice

    def _choice(self, header: uploads_pb2.UploadHeader) -> Choice:
        known = self._elements.placeable()
        return choose(
            known,
            mode=mode_for(header),
            size_bytes=declared_size(header),
            now=time.monotonic(),
            suspects=self._suspects.among(known),
        )

    async def _order(self, choice: Choice, pinned: str) -> Sequence[SeenElement]:
        first = await self._elements.find(pinned) if pinned else None
        if first is None:
            return choice.candidates
        return [first, *(e for e in choice.candidates if e.element_id != pinned)]

    def _note(self, element: SeenElement, error: ArtStoreError) -> None:
        refusals.labels(element.element_id, error.default_reason).inc()
        _log.info(
            "storage element refused an upload", element=element.element_id, reason=error.message
        )
        if isinstance(error, Unavailable):
            self._suspects.trip(element, error.message)


def _is_of_no_use(error: ArtStoreError) -> bool:
    """Whether waiting for who answered this helps nobody: it is full, or left the mode."""
    return isinstance(error, ResourceExhausted) or error.reason == "MODE"


_HOLDS = {Mode.EDIT: "temporary", Mode.RW: "permanent"}


def nobody_takes(
    choice: Choice,
    refused: Sequence[tuple[SeenElement, ArtStoreError]],
    *,
    mode: Mode,
    size_bytes: int | None,
    listed: bool,
) -> ArtStoreError:
    """What it means that no element takes an upload.

    Args:
        refused: candidates (and the one of a request_id) with what each of them answered.
        listed: admin has told which elements there are.
    """
    of_mode = {element.element_id for element in choice.candidates}
    waiting = dict(choice.waiting) | {
        element.element_id: error.message
        for element, error in refused
        if element.element_id in of_mode and not _is_of_no_use(error)
    }
    if waiting:
        told = "; ".join(f"{name}: {why}" for name, why in sorted(waiting.items()))
        return Unavailable(
            f"no storage element takes the upload at the moment ({told})",
            reason="ELEMENT_UNAVAILABLE",
            metadata={"storage_element_ids": ",".join(sorted(waiting))},
        )
    share = next((error for _, error in refused if error.reason == _SHARE), None)
    if share is not None:
        return share
    if choice.full or any(isinstance(error, ResourceExhausted) for _, error in refused):
        wanted = "an upload of unknown size" if size_bytes is None else f"{size_bytes} bytes"
        return ResourceExhausted(
            f"no element has room for {wanted} in mode {mode}: delete files, or add an element",
            reason="NO_SPACE",
        )
    if not listed:
        return Unavailable(
            f"no storage element in mode {mode} is known, and admin, which knows them all, was"
            " not reached since ingest started"
        )
    return FailedPrecondition(
        f"there is no storage element in mode {mode}, which is where {_HOLDS[mode]} files go:"
        f" start one with ARTSTORE_MODE={mode}",
        reason="NO_ELEMENT",
        metadata={"mode": str(mode)},
    )

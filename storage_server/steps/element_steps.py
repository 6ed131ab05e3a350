"""The steps that the element takes for admin, as one."""

from __future__ import annotations

from dataclasses import dataclass

from storage_server.files.erasing import Erasing
from storage_server.steps.collecting import Collecting
from storage_server.steps.keeping import StepsKeeping
from storage_server.steps.moving import Moving
from storage_server.steps.pulling import Pulling


@dataclass(frozen=True, slots=True)
class ElementSteps:
    """What admin tells the element to do with single files.

    Attributes:
        pulling: files come here.
        moving: their home changes, copies follow it.
        collecting: bytes and records go.
        erasing: files go for ever.
        keeping: what happens to all that without admin.
    """

    pulling: Pulling
    moving: Moving
    collecting: Collecting
    erasing: Erasing
    keeping: StepsKeeping

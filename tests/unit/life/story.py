"""One way through the model, told step by step."""

from __future__ import annotations

from tests.unit.life import events
from tests.unit.life.small import Call, Small
from tests.unit.life.walk import shown
from tests.unit.life.world import (
    CLOSED,
    Scenario,
    World,
    canonical,
    decided,
    may_open,
    replaced,
    sent,
)

MOST = 40


class Story:
    """What happens to one file, in the order in which it is told.

    Args:
        found: the sidecars to begin with.
        copies: wanted.
    """

    def __init__(self, *found: Small | None, copies: int = 1) -> None:
        self.scenario = Scenario(found, copies=copies)
        self.world: World = self.scenario.start()
        self.taken: list[str] = []

    @property
    def letters(self) -> str:
        """The states, as `A - C`; small letters of elements that are closed, (A) of silent ones."""
        words = []
        for one, phase in zip(self.world.found, self.world.phases, strict=True):
            letter = "-" if one is None else one.state[0].upper()
            silent = phase not in (0, CLOSED)
            words.append(f"({letter})" if silent else letter.lower() if phase else letter)
        return " ".join(words)

    def on(self, element: int) -> Small:
        one = self.world.found[element]
        assert one is not None, shown(self.world)
        return one

    def may(self, event: str, element: int) -> bool:
        """Whether an event can happen; it does then."""
        after = events.ON_ONE[event](self.world, element)
        if after is not None:
            self.world = canonical(after)
        return after is not None

    def then(self, event: str, element: int | None = None) -> None:
        """An event happens."""
        if element is not None:
            assert self.may(event, element), f"{event} {element}: {shown(self.world)}"
            return
        after = events.WHOLE[event](self.world, self.scenario)
        assert after is not None, f"{event}: {shown(self.world)}"
        self.world = canonical(after)

    def lost(self, element: int) -> None:
        """An element is silent for longer than its lease, and ADMIN gives it up."""
        for event in ("cut", "lapse", "lose"):
            self.then(event, element)

    def forgotten(self, element: int) -> None:
        """An element has no sidecar of the file any more, by whatever mishap."""
        self.world = canonical(self.world._replace(found=replaced(self.world.found, element, None)))

    def wanted(self) -> list[str]:
        """What admin would do now, as `activate 1`."""
        return [f"{one.step} {one.element}" for one in decided(self.world, self.scenario)]

    def sends(self, step: str) -> Call:
        """Admin decides a step, and it is under way."""
        (one,) = [
            one for one in decided(self.world, self.scenario) if f"{one.step} {one.element}" == step
        ]
        self.world = sent(self.world, one)
        return next(call for call in self.world.calls if call.step == one.step)

    def arrives(self, step: str) -> None:
        """A call that is under way arrives; it may do so once more."""
        (number,) = [
            number
            for number, one in enumerate(self.world.calls)
            if f"{one.step} {one.element}" == step
        ]
        self.world = events.arrive(self.world, number)

    def minute(self) -> None:
        self.world = canonical(events.minute(self.world))

    def takes(self, step: str) -> None:
        """A step is decided, arrives and is answered."""
        self.sends(step)
        self.arrives(step)
        (number,) = [
            number
            for number, one in enumerate(self.world.calls)
            if f"{one.step} {one.element}" == step
        ]
        self.world = events.answered(self.world, number)
        self.taken.append(step)

    def works(self) -> str:
        """Admin does all that comes next, and opens what may be opened; what is there then."""
        for _ in range(MOST):
            wanted = self.wanted()
            if wanted:
                self.takes(wanted[0])
                continue
            ready = [
                element
                for element, phase in enumerate(self.world.phases)
                if phase == CLOSED and may_open(self.world, self.scenario)
            ]
            if not ready:
                return self.letters
            self.world = canonical(events.opened(self.world, ready[0]))
        raise AssertionError(f"never ends: {shown(self.world)}")

    def passes(self) -> str:
        """Days pass, in which trash is emptied and admin works; what is left then."""
        for _ in range(4):
            self.then("day")
            self.works()
            for element, phase in enumerate(self.world.phases):
                after = events.emptied(self.world, element) if not phase else None
                if after is not None:
                    self.world = canonical(after)
            self.works()
        return self.letters

    def may_erase(self) -> bool:
        """Whether EraseFile is accepted."""
        return events.erase_wanted(self.world) is not None

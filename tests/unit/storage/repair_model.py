"""A model of direct writes, crashes and repairs on one file.

Each actor is a list of atomic steps, and every order of those can be walked, with a crash of the
server after every one of them. At the end `agree` says whether rows equal sidecars. Direct writes
take their steps, and what may become of an intent, from `storage_server.writing.protocol`. The
repairs take their decisions from `storage_server.domain.decisions` and the fences from
`storage_server.catalog.fences`, as the server does; where the server decides in SQL, a test of
the catalog holds that to these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter

from storage_server.catalog.fences import Fence, Guard, in_force
from storage_server.domain.decisions import (
    Found,
    MergeAction,
    Verdict,
    compare,
    may_drop,
    merge_action,
)
from storage_server.writing.protocol import Fate, Step


@dataclass(frozen=True)
class Content:
    """A sidecar's content: `mark` tells contents apart, `revision` may lie."""

    mark: str
    revision: int
    deleted: bool = False


@dataclass(frozen=True)
class Row:
    content: Content
    sequence: int
    intact: bool = True


@dataclass(frozen=True)
class World:
    """The truth, its cache, and what a crash leaves."""

    sidecar: Content | None
    row: Row | None
    head: int
    pending: bool = False
    uploading: bool = False
    lock_owner: str = ""
    drawn: int = 0
    rebuild_fence: int = 0
    memory: tuple[tuple[str, object], ...] = field(default=())
    dead: bool = False

    def recall(self, key: str) -> object:
        return dict(self.memory).get(key)

    def remember(self, key: str, value: object) -> World:
        # Sorted, so that orders which lead to the same world meet there.
        kept = (pair for pair in self.memory if pair[0] != key)
        return replace(self, memory=tuple(sorted((*kept, (key, value)), key=itemgetter(0))))


Move = Callable[[World], World | None]  # None: blocked, another actor must move first


def write_row(world: World, content: Content) -> World:
    head = world.head + 1
    return replace(world, row=Row(content, head), head=head)


def direct(name: str, change: Callable[[Content | None], Content | None]) -> list[Move]:
    """The steps of a write, in the protocol's order: under the file's lock."""

    def intend(world: World) -> World | None:
        if world.lock_owner:
            return None
        target = change(world.sidecar)
        world = world.remember(name, target)
        if target is None:
            return world
        return replace(world, pending=True, uploading=name == "upload", lock_owner=name)

    def write_sidecar(world: World) -> World | None:
        target = world.recall(name)
        return world if target is None else replace(world, sidecar=target)  # type: ignore[arg-type]

    def commit(world: World) -> World | None:
        target = world.recall(name)
        if target is None:
            return world
        written = write_row(world, target)  # type: ignore[arg-type]
        return replace(written, pending=False, uploading=False, lock_owner="")

    made = {Step.INTENT: intend, Step.SIDECAR: write_sidecar, Step.ROW: commit}
    return [made[step] for step in Step]


def left_before_its_sidecar(steps: list[Move], name: str, fate: Fate) -> list[Move]:
    """A write that fails at its sidecar, and what becomes of its intent."""

    def leave(world: World) -> World | None:
        if world.recall(name) is None:
            return world
        stays = fate is not Fate.ENDS
        return replace(world, pending=stays, uploading=stays and name == "upload", lock_owner="")

    return [*steps[: list(Step).index(Step.SIDECAR)], leave]


def landing(name: str, start: Content | None) -> list[Move]:
    """What such a write sent arrives late: the store refuses it when the sidecar is another."""

    def land(world: World) -> World | None:
        target = world.recall(name)
        if target is None or world.sidecar != start:
            return world
        return replace(world, sidecar=target)  # type: ignore[arg-type]

    return [land]


def upload() -> list[Move]:
    return direct("upload", lambda old: Content("uploaded", 1) if old is None else None)


def update() -> list[Move]:
    return direct(
        "update",
        lambda old: (
            None if old is None or old.deleted else Content(old.mark + "+", old.revision + 1)
        ),
    )


def delete() -> list[Move]:
    return direct(
        "delete",
        lambda old: (
            None if old is None or old.deleted else Content(old.mark, old.revision + 1, True)
        ),
    )


def restore_backup(*, between_writes: bool = False) -> list[Move]:
    """Somebody puts an older sidecar back, past the service."""

    def edit(world: World) -> World | None:
        if between_writes and world.lock_owner:
            return None
        if world.sidecar is None:
            return world.remember("edit", "nothing")
        return replace(world, sidecar=Content("restored", 0)).remember("edit", "done")

    return [edit]


def remove_by_hand() -> list[Move]:
    """Somebody removes the sidecar, past the service and between its writes."""

    def remove(world: World) -> World | None:
        return None if world.lock_owner else replace(world, sidecar=None)

    return [remove]


def merge(world: World, content: Content, s0: int) -> tuple[World, MergeAction]:
    row = world.row
    action = merge_action(
        row.sequence if row else None,
        s0,
        says_the_same=row is not None and row.content == content and row.intact,
        uploading=world.uploading,
    )
    if action in (MergeAction.INSERT, MergeAction.WRITE):
        return write_row(world, content), action
    return world, action


def allowed(world: World, guard: Guard, name: str) -> bool:
    number = world.recall(name + ":fence")
    assert isinstance(number, int)
    return in_force(Fence(guard, number), world.rebuild_fence, 0)


def rebuild(name: str = "rebuild", *, drops: bool = True) -> list[Move]:
    def raise_fence(world: World) -> World | None:
        fence = world.drawn + 1
        return replace(world, drawn=fence, rebuild_fence=fence).remember(name + ":fence", fence)

    def note_head(world: World) -> World | None:
        return world.remember(name + ":s0", world.head)

    def list_folder(world: World) -> World | None:
        listed = world.remember(name + ":listed", world.sidecar)
        return listed.remember(name + ":edited before", world.recall("edit"))

    def compare_rows(world: World) -> World | None:
        verdict = compare(
            world.recall(name + ":listed"),
            world.row.content if world.row else None,
            row_intact=world.row.intact if world.row else True,
        )
        return world.remember(name + ":verdict", verdict)

    def read(world: World) -> World | None:
        if world.recall(name + ":verdict") is not Verdict.READ:
            return world
        if world.sidecar is None:
            return world.remember(name + ":verdict", Verdict.SUSPECT)
        return world.remember(name + ":content", world.sidecar)

    def merge_set(world: World) -> World | None:
        content, s0 = world.recall(name + ":content"), world.recall(name + ":s0")
        if content is None or not allowed(world, Guard.REBUILD, name):
            return world
        world, action = merge(world, content, s0)  # type: ignore[arg-type]
        missed = action is MergeAction.LEAVE
        return world.remember(name + ":missed", missed).remember(name + ":content", None)

    def note_head_again(world: World) -> World | None:
        return world.remember(name + ":s0", world.head)

    def read_again(world: World) -> World | None:
        if not world.recall(name + ":missed"):
            return world
        if world.sidecar is None:
            return world.remember(name + ":verdict", Verdict.SUSPECT)
        return world.remember(name + ":content", world.sidecar)

    def look_again(world: World) -> World | None:
        found = Found.ABSENT if world.sidecar is None else Found.OWN
        return world.remember(name + ":found", found)

    def drop(world: World) -> World | None:
        if world.recall(name + ":verdict") is not Verdict.SUSPECT or world.row is None:
            return world
        s0, found = world.recall(name + ":s0"), world.recall(name + ":found")
        if not may_drop(world.row.sequence, s0, found):  # type: ignore[arg-type]
            return world
        if not allowed(world, Guard.REBUILD, name):
            return world
        return replace(world, row=None, head=world.head + 1)

    steps: list[Move] = [raise_fence, note_head, list_folder, compare_rows, read, merge_set]
    steps += [note_head_again, read_again, merge_set]
    return [*steps, note_head_again, look_again, drop] if drops else steps


def incremental() -> list[Move]:
    return rebuild("incremental", drops=False)


def lazy() -> list[Move]:
    """Under the file's lock, so no direct write is under way.

    A rebuild shuts it out by its fence if it begins later, by the row's sequence if it was
    there before.
    """

    def draw(world: World) -> World | None:
        fence = world.drawn + 1
        return replace(world, drawn=fence).remember("lazy:fence", fence)

    def begin(world: World) -> World | None:
        if world.lock_owner:
            return None
        seen = world.row.sequence if world.row else None
        return replace(world, lock_owner="lazy").remember("lazy:sequence", seen)

    def read(world: World) -> World | None:
        return world.remember("lazy:content", world.sidecar)

    def put_back(world: World) -> World | None:
        content = world.recall("lazy:content")
        world = replace(world, lock_owner="")
        if content is None or not allowed(world, Guard.LAZY, "lazy"):
            return world
        sequence = world.row.sequence if world.row else None
        if sequence != world.recall("lazy:sequence"):
            return world
        if world.row is not None and world.row.content == content and world.row.intact:
            return world  # only renewed: no sequence
        return write_row(world, content)  # type: ignore[arg-type]

    return [draw, begin, read, put_back]


def restart(world: World) -> World:
    """What the next start does: locks are gone, pending writes are replayed from the sidecar."""
    world = replace(world, lock_owner="", uploading=False, memory=())
    if not world.pending:
        return world
    if world.sidecar is not None:
        world = write_row(world, world.sidecar)
    return replace(world, pending=False)


Actors = tuple[tuple[Move, ...], ...]


def moves(world: World, left: Actors) -> Iterator[tuple[World, Actors]]:
    """Each actor's next step, where it is not blocked."""
    for index, steps in enumerate(left):
        if steps and (after := steps[0](world)) is not None:
            yield after, (*left[:index], steps[1:], *left[index + 1 :])


def reachable(world: World, actors: Actors) -> set[tuple[World, Actors]]:
    """Every state that some order of steps leads to; different orders may share one."""
    seen = {(world, actors)}
    stack = [(world, actors)]
    while stack:
        for state in moves(*stack.pop()):
            if state not in seen:
                seen.add(state)
                stack.append(state)
    return seen


def killed_anywhere(world: World, actors: Actors) -> set[World]:
    """The world after the restart, for a kill after any step of any order."""
    return {restart(now) for now, _ in reachable(world, actors)}


def finished(world: World, actors: Actors) -> set[World]:
    """Every end at which all actors ran to their end."""
    return {now for now, left in reachable(world, actors) if not any(left)}


def count_orders(world: World, actors: Actors) -> int:
    """How many different orders lead from here to an end."""
    known: dict[tuple[World, Actors], int] = {}

    def count(state: tuple[World, Actors]) -> int:
        if state not in known:
            nexts = list(moves(*state))
            known[state] = sum(map(count, nexts)) if nexts else 1
        return known[state]

    return count((world, actors))


V1 = Content("v1", 1)
STARTS = {
    "nothing": World(None, None, 0),
    "file and row": World(V1, Row(V1, 1), 1),
    "file without row": World(V1, None, 1),
    "row without file": World(None, Row(V1, 1), 1),
    "restored, lower revision": World(Content("old", 1), Row(Content("v5", 5), 1), 1),
    "damaged row": World(V1, Row(V1, 1, intact=False), 1),
    "tombstone": World(replace(V1, deleted=True), Row(replace(V1, deleted=True), 1), 1),
}
WRITERS: dict[str, tuple[Callable[[], list[Move]], ...]] = {
    "nobody": (),
    "upload": (upload,),
    "update": (update,),
    "delete": (delete,),
    "upload, then update": (upload, update),
    "update and delete": (update, delete),
}
REPAIRS: dict[str, Callable[[], list[Move]]] = {
    "full": rebuild,
    "incremental": incremental,
    "lazy": lazy,
}


def agree(world: World) -> bool:
    if world.sidecar is None:
        return world.row is None
    return world.row is not None and world.row.content == world.sidecar and world.row.intact

"""All interleavings of direct writes, crashes and repairs on one file, in a model of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from storage_server.writing.protocol import Fate
from tests.unit.storage.repair_model import (
    REPAIRS,
    STARTS,
    WRITERS,
    Move,
    World,
    agree,
    count_orders,
    finished,
    killed_anywhere,
    landing,
    lazy,
    left_before_its_sidecar,
    rebuild,
    remove_by_hand,
    restart,
    restore_backup,
    update,
    write_row,
)

FAILURES = [
    ("upload", "nobody"),
    ("upload", "update"),
    ("update", "nobody"),
    ("update", "delete"),
    ("delete", "update"),
]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("writers", WRITERS)
@pytest.mark.parametrize("repair", REPAIRS)
def test_every_order_of_writes_and_one_repair_ends_with_rows_equal_to_sidecars(
    start: str, writers: str, repair: str
) -> None:
    actors = tuple(tuple(make()) for make in (*WRITERS[writers], REPAIRS[repair]))
    orphan_is_left = repair != "full" and STARTS[start].sidecar is None and writers == "nobody"
    ends = finished(STARTS[start], actors)
    assert ends
    for end in ends:
        if end.sidecar is None and repair != "full":
            assert end.row == STARTS[start].row or orphan_is_left
        else:
            assert agree(end), end


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("writers", WRITERS)
@pytest.mark.parametrize("repair", REPAIRS)
def test_a_crash_after_any_step_leaves_what_the_next_full_rebuild_makes_right(
    start: str, writers: str, repair: str
) -> None:
    actors = tuple(tuple(make()) for make in (*WRITERS[writers], REPAIRS[repair]))
    started_right = agree(STARTS[start])
    for crashed in killed_anywhere(STARTS[start], actors):
        if started_right:
            assert agree(crashed), crashed  # replay alone puts it right
        for end in finished(crashed, (tuple(rebuild()),)):
            assert agree(end), end


def failed(
    world: World, name: str, fate: Fate, others: str, repair: str, *, lands: bool
) -> set[World]:
    """What remains of every order of a write that fails, of others and of one repair."""
    (make,) = WRITERS[name]
    late = landing(name, world.sidecar) if lands else []
    makers = [tuple(other()) for other in WRITERS[others]]
    repairs = tuple(REPAIRS[repair]())
    write = tuple(left_before_its_sidecar(make(), name, fate))
    return {restart(end) for end in finished(world, (write, tuple(late), *makers, repairs))}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("fate", Fate)
@pytest.mark.parametrize("repair", REPAIRS)
def test_a_write_left_without_its_sidecar_is_made_right_by_the_replay(
    start: str, fate: Fate, repair: str
) -> None:
    """Also when it lands late, beside other writes and a repair."""
    lands = fate is Fate.STAYS
    for name, others in FAILURES:
        for end in failed(STARTS[start], name, fate, others, repair, lands=lands):
            if agree(STARTS[start]):
                assert agree(end), end
            for repaired in finished(end, (tuple(rebuild()),)):
                assert agree(repaired), repaired


def test_the_model_can_fail_when_the_intent_of_a_write_that_may_land_ends() -> None:
    start = STARTS["file and row"]
    ends = failed(start, "update", Fate.ENDS, "nobody", "lazy", lands=True)
    assert [end for end in ends if not agree(end)]


@pytest.mark.parametrize("writers", ["nobody", "upload", "update", "delete"])
@pytest.mark.parametrize("start", STARTS)
def test_a_sidecar_restored_before_the_listing_is_the_truth_whoever_writes(
    start: str, writers: str
) -> None:
    """Also when the row was written after the rebuild began, which S0 alone would leave so."""
    makers = [make() for make in WRITERS[writers]]
    actors = (*makers, restore_backup(between_writes=True), rebuild())
    for end in finished(STARTS[start], tuple(map(tuple, actors))):
        if end.recall("rebuild:edited before") is not None:
            assert agree(end), end


@pytest.mark.parametrize("edit", [restore_backup, remove_by_hand])
@pytest.mark.parametrize("repair", REPAIRS)
@pytest.mark.parametrize("start", STARTS)
def test_whatever_is_edited_beside_writes_and_repairs_the_next_rebuild_makes_right(
    start: str, repair: str, edit: Callable[[], list[Move]]
) -> None:
    actors = (tuple(update()), tuple(edit()), tuple(REPAIRS[repair]()))
    for world in finished(STARTS[start], actors):
        for end in finished(replace(world, memory=()), (tuple(rebuild()),)):
            assert agree(end), end


@pytest.mark.parametrize("writers", ["nobody", "upload", "update", "delete"])
@pytest.mark.parametrize("start", STARTS)
def test_a_rebuild_beside_lazy_refreshes_and_edits_ends_right(start: str, writers: str) -> None:
    """No lock keeps them apart here: Valkey may have been flushed. The fence does."""
    makers = [make() for make in WRITERS[writers]]
    actors = (*makers, lazy(), rebuild())
    for end in finished(STARTS[start], tuple(map(tuple, actors))):
        assert agree(end), end


def test_a_lazy_refresh_overtaken_by_a_rebuild_does_not_put_older_content_back() -> None:
    edited = STARTS["file and row"]
    actors = (tuple(lazy()), tuple(restore_backup()), tuple(rebuild()))
    met = 0
    for end in finished(edited, actors):
        if end.recall("rebuild:edited before") is not None:
            assert agree(end), end
            met += 1
    assert met


def test_the_model_can_fail_when_revision_decides_and_absence_drops() -> None:
    """The obvious rule, walked the same way, ends wrong: the model would notice."""

    def obvious() -> list[Move]:
        def list_folder(world: World) -> World | None:
            return world.remember("listed", world.sidecar)

        def apply(world: World) -> World | None:
            listed = world.recall("listed")
            if listed is None:
                return replace(world, row=None)
            if world.row is None or listed.revision > world.row.content.revision:  # type: ignore[attr-defined]
                return write_row(world, listed)  # type: ignore[arg-type]
            return world

        return [list_folder, apply]

    wrong = [
        (start, writers)
        for start, world in STARTS.items()
        for writers, makers in WRITERS.items()
        for end in finished(world, tuple(tuple(make()) for make in (*makers, obvious)))
        if not agree(end)
    ]
    assert len(set(wrong)) >= 8


def test_the_walk_covers_more_orders_than_the_69_636_that_the_rule_was_found_with() -> None:
    walked = sum(
        count_orders(world, tuple(tuple(make()) for make in (*makers, repair)))
        for world in STARTS.values()
        for makers in WRITERS.values()
        for repair in REPAIRS.values()
    )
    assert walked > 69_636

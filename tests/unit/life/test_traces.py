"""Ways that broke an earlier form of the rules, one after another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage_server.domain.life import arrived, erased, gone, marked_moved
from storage_server.domain.sidecar import FileState
from tests.support.sidecars import AT, a_sidecar
from tests.unit.life.scenarios import ACTIVE, COPY
from tests.unit.life.story import Story


def moved_to_1(*others: None) -> Story:
    story = Story(ACTIVE, None, *others)
    story.then("move", 1)
    story.works()
    return story


def test_1_deleted_at_its_new_home_the_source_goes_at_once_and_for_good() -> None:
    story = moved_to_1()
    assert story.letters == "M A"
    story.then("delete", 1)
    assert story.works() == "G D"
    assert story.passes() == "- -"


def test_2_a_source_is_not_undeleted_when_its_time_is_over() -> None:
    story = moved_to_1()
    assert story.passes() == "G A"
    assert not story.may("undelete", 0)


def test_3_a_source_that_was_away_is_no_home_though_nothing_tells_where_the_file_went() -> None:
    story = moved_to_1(None)
    story.then("cut", 0)
    story.then("move", 2)
    assert story.works() == "(M) M A"
    story.then("day")
    assert story.works() == "(M) G A"
    story.then("delete", 2)
    story.then("day")
    story.world = story.world._replace(
        found=(*story.world.found[:2], story.on(2)._replace(has_bytes=False))
    )
    assert story.works() == "(M) G D"  # Neither stub nor tombstone goes while 0 is silent.
    story.forgotten(1)
    story.then("cut", 2)
    story.then("return", 0)
    assert story.works() == "m - (D)"  # No home is made while 2 is silent.
    assert story.wanted() == []
    story.then("return", 2)
    assert story.passes() == "- - -"


def test_4_what_is_deleted_and_known_to_a_copy_stays_so_when_its_home_is_lost() -> None:
    story = Story(ACTIVE, COPY, copies=2)
    story.then("delete", 0)
    assert story.works() == "D C"
    story.lost(0)
    assert story.works() == "(D) D"
    story.then("return", 0)
    story.works()
    assert story.letters == "C D"
    assert story.passes() == "- -"


def test_4_a_deletion_that_reached_no_copy_is_lost_with_its_element_for_good() -> None:
    """Admitted: who changes the file after that changes the one that is there."""
    story = Story(ACTIVE, COPY, copies=2)
    story.then("delete", 0)
    story.lost(0)
    assert story.works() == "(D) A"
    story.then("update", 1)
    text = story.on(1).text
    story.then("return", 0)
    assert story.works() == "C A"
    assert story.passes() == "C A"
    assert (story.on(0).text, story.on(1).text) == (text, text)


@pytest.mark.parametrize("tables_lost", [False, True])
def test_4_what_is_erased_at_one_element_that_is_lost_then_does_not_come_back(
    tables_lost: bool,
) -> None:
    story = Story(ACTIVE, COPY, copies=2)
    story.then("erase")
    story.takes("erase 0")
    story.lost(0)
    assert not story.world.erased  # It is answered when two have it on record.
    if tables_lost:
        story.then("tables lost")
        story.minute()
        story.then("lose", 0)
    assert story.works() == ("(E) A" if tables_lost else "(E) E")
    story.then("return", 0)
    assert story.works() == "E E"
    assert story.passes() == "E E"


def test_5_a_home_that_was_cut_off_yields_to_the_copy_that_was_made_the_home() -> None:
    story = Story(ACTIVE, COPY, copies=2)
    story.then("cut", 0)
    story.then("update", 0)  # Until its lease has lapsed.
    story.then("lapse", 0)
    assert not story.may("update", 0)
    assert story.works() == "(A) C"  # Silence alone makes no home.
    story.then("lose", 0)
    assert story.works() == "(A) A"
    story.then("update", 1)
    story.then("return", 0)
    assert story.letters == "a A"
    assert not story.may("update", 0)
    assert story.works() == "C A"
    assert story.on(0).text == story.on(1).text == story.world.last


def test_6_a_store_restored_to_before_the_move_becomes_a_copy_without_a_person() -> None:
    story = Story(ACTIVE, None)
    story.then("back up", 0)
    story.then("move", 1)
    story.works()
    assert story.passes() == "G A"
    story.then("update", 1)
    story.then("restore", 0)
    assert story.letters == "a A"
    assert not story.may("delete", 0)
    assert story.wanted() == ["sync 0"]
    story.takes("sync 0")
    assert story.letters == "c A"
    assert story.passes() == "G A"
    assert story.on(1).text == story.world.last


def test_7_restored_to_when_it_was_incoming_the_last_home_takes_over() -> None:
    story = Story(ACTIVE, None)
    story.then("move", 1)
    story.takes("pull 1")
    story.then("back up", 1)
    assert story.works() == "M A"
    story.then("restore", 1)
    assert story.letters == "M i"
    story.works()
    assert story.letters in ("A I", "M A")
    assert story.passes() in ("A G", "G A")


def test_7_what_arrives_after_its_file_was_deleted_goes_at_once() -> None:
    story = Story(ACTIVE, None)
    story.then("move", 1)
    story.sends("pull 1")
    story.then("delete", 0)
    story.arrives("pull 1")
    assert story.letters == "D I"
    story.minute()
    assert story.works() == "D G"
    assert story.passes() == "- -"


def test_7_a_target_restored_between_pull_and_switch_does_not_become_the_home_as_it_is() -> None:
    """It has the revision of the one that was seen, and another text."""
    story = Story(ACTIVE, None)
    story.then("move", 1)
    story.takes("pull 1")
    story.then("back up", 1)
    story.then("update", 0)
    text = story.on(0).text
    story.takes("sync 1")
    story.takes("moved 0")
    story.then("restore", 1)
    assert story.on(1).text != text
    story.works()
    assert story.passes() in ("A G", "G A")
    assert [one.text for one in story.world.found if one is not None and one.text >= 0] == [text]


def test_7_a_copy_is_not_synced_with_a_home_that_is_behind_it() -> None:
    story = Story(ACTIVE, COPY, copies=2)
    story.then("back up", 0)
    story.then("update", 0)
    text = story.on(0).text
    assert story.works() == "A C"
    story.then("restore", 0)
    assert story.letters == "a C"
    assert story.wanted() == ["sync 0"]  # The home takes the copy's text.
    assert story.works() == "A C"
    assert (story.on(0).text, story.on(0).revision) == (text, 3)
    assert story.on(1).text == text


def test_7_a_restored_home_takes_a_copys_text_only_when_everybody_has_answered() -> None:
    """It takes the revision after that copy's, which a silent copy may have with a later text."""
    story = Story(ACTIVE, COPY, COPY, copies=3)
    story.then("back up", 0)
    story.then("update", 0)
    story.takes("sync 2")
    story.then("update", 0)
    last = story.on(0).text
    story.takes("sync 1")
    story.then("restore", 0)
    story.then("cut", 1)
    assert story.works() == "a (C) C"
    story.then("return", 1)
    assert story.works() == "A C C"
    assert {story.on(element).text for element in range(3)} == {last}


def test_8_erased_with_one_element_down_it_stays_so_for_an_admin_that_knows_nothing_of_it() -> None:
    story = Story(ACTIVE, COPY, COPY, copies=3)
    story.then("cut", 2)
    story.then("erase")
    assert story.works() == "E E (C)"
    assert story.world.erased
    story.then("lapse", 2)
    story.then("tables lost")
    story.minute()
    story.then("return", 2)
    assert story.works() == "E E E"


def test_9_while_one_home_is_made_no_other_is_and_nothing_is_erased() -> None:
    story = Story(ACTIVE, COPY, COPY, copies=3)
    story.lost(0)
    story.sends("activate 1")
    assert story.wanted() == []
    assert not story.may_erase()
    story.then("cut", 1)  # Its end is not known.
    assert story.wanted() == []
    story.then("lapse", 1)
    story.then("lose", 1)
    assert story.wanted() == ["activate 2"]  # A minute has passed.
    assert story.may_erase()


def test_9_an_admin_with_new_tables_waits_a_minute_before_it_makes_a_home() -> None:
    story = Story(ACTIVE, COPY, COPY, copies=3)
    story.lost(0)
    story.sends("activate 1")
    story.then("tables lost")
    story.then("lose", 0)
    assert story.wanted() == []
    assert not story.may_erase()
    story.minute()
    assert story.wanted() == ["activate 1"]


def test_10_a_move_to_the_element_with_the_copy_sends_no_bytes_to_it() -> None:
    story = Story(ACTIVE, COPY, None, copies=2)
    story.then("move", 1)
    assert story.wanted() == ["moved 0"]
    story.takes("moved 0")
    story.takes("activate 1")
    assert "pull 1" not in story.taken
    story.works()
    assert story.passes() in ("C A G", "G A C", "C A -")


def test_11_wherever_a_file_went_its_request_id_is_known_there() -> None:
    source = a_sidecar(request_id="r-1", description="secret")
    moved = marked_moved(source, "se-1", AT)
    stub = gone(moved, "se-1", AT)
    target = arrived(source, FileState.INCOMING, ("2026/01/02/03", "a"), AT)
    assert {one.request_id for one in (source, moved, stub, target)} == {"r-1"}
    assert (stub.moved_to, stub.description) == ("se-1", "")
    assert arrived(source, FileState.COPY, ("f", "n"), AT, over=stub).request_id == "r-1"
    witness = erased(source.file_id, replace(source, state=FileState.COPY), "carol", "law", AT)
    assert witness.request_id == ""


def test_what_only_an_element_has_that_was_away_waits_for_admins_word() -> None:
    """Its file may have been deleted meanwhile, and every trace of that purged."""
    story = Story(ACTIVE, COPY, copies=2)
    story.then("back up", 1)
    story.then("delete", 0)
    assert story.passes() == "- -"
    story.then("restore", 1)
    assert story.letters == "- c"
    assert story.works() == "- C"
    assert story.on(1).to == 1
    assert story.passes() == "- C"
    assert story.wanted() == []


def test_what_was_set_aside_becomes_a_copy_again_when_its_home_comes_back() -> None:
    story = Story(ACTIVE, COPY, copies=2)
    story.then("back up", 1)
    story.lost(0)
    story.then("restore", 1)
    assert story.works() == "(A) C"
    assert story.on(1).to == 1
    story.then("return", 0)
    assert story.works() == "A C"
    assert story.on(1).to == -1
    assert story.passes() == "A C"

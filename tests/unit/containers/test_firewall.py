"""What an engine of `make test-compose` adds to the rules of this machine goes with it."""

from __future__ import annotations

from tests.containers.firewall import without_engine

BEFORE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 5 -j DROP
COMMIT
"""
AFTER = """\
*filter
:INPUT ACCEPT [7:420]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -p tcp -m tcp --dport 5 -j DROP
-A INPUT -i br-lan -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i br-f03eeea9cf94 -o br-f03eeea9cf94 -j ACCEPT
COMMIT
"""


def test_chains_and_rules_of_the_engine_go_and_those_of_others_stay() -> None:
    assert (
        without_engine(AFTER, BEFORE)
        == """\
*filter
:INPUT ACCEPT [7:420]
:FORWARD ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 5 -j DROP
-A INPUT -i br-lan -j ACCEPT
COMMIT
"""
    )


def test_what_was_dropped_before_is_dropped_again() -> None:
    before = BEFORE.replace("FORWARD ACCEPT", "FORWARD DROP")
    assert ":FORWARD DROP" in without_engine(AFTER, before)


def test_a_table_that_was_not_there_forwards() -> None:
    assert ":FORWARD ACCEPT" in without_engine(AFTER, "")

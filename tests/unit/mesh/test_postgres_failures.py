"""What errors of PostgreSQL are taken for, without a PostgreSQL."""

from __future__ import annotations

import asyncpg
import pytest

from mesh.errors import TablesMissing, Unavailable
from mesh.postgres.failures import EVERYTHING, is_gone, refusal

DROPPABLE = ["public.t", "public.t_seq"]
MISSING = [
    asyncpg.UndefinedTableError('relation "public.t" does not exist'),
    asyncpg.UndefinedTableError("Relation »public.t_seq« existiert nicht"),
    asyncpg.UndefinedTableError('relation "public.tt" does not exist'),
    asyncpg.UndefinedColumnError('column "n" does not exist'),
    asyncpg.UndefinedFunctionError("function words(text) does not exist"),
    asyncpg.UndefinedObjectError('type "words" does not exist'),
]


@pytest.mark.parametrize("number", [0, 1])
def test_a_relation_that_is_named_droppable_is_made_anew(number: int) -> None:
    refused = refusal(MISSING[number], "artstore", DROPPABLE)
    assert isinstance(refused, TablesMissing)
    assert refused.reason == "TABLES_MISSING"
    assert "artstore" in refused.message


@pytest.mark.parametrize("error", MISSING[2:], ids=repr)
def test_whatever_else_is_missing_is_a_wrong_statement(error: Exception) -> None:
    assert refusal(error, "artstore", DROPPABLE) is None
    assert refusal(error, "artstore") is None


@pytest.mark.parametrize("error", MISSING, ids=repr)
def test_where_everything_is_droppable_all_that_is_missing_is_made_anew(error: Exception) -> None:
    assert isinstance(refusal(error, "artstore", [EVERYTHING]), TablesMissing)
    assert not is_gone(error)


def test_a_full_disk_is_a_database_without_writes_and_no_missing_table() -> None:
    refused = refusal(asyncpg.DiskFullError("no space left"), "artstore", [EVERYTHING])
    assert isinstance(refused, Unavailable)
    assert not isinstance(refused, TablesMissing)
    assert refused.reason == "DATABASE_READ_ONLY"


def test_a_wrong_statement_stays_one() -> None:
    assert refusal(asyncpg.PostgresSyntaxError("at or near"), "artstore", [EVERYTHING]) is None

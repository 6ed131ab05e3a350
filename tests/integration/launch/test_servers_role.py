"""Servers are no superusers of the embedded PostgreSQL, and own what they made as one before."""

from __future__ import annotations

import asyncpg
import pytest

from launch import postgres
from launch.postgres import SERVERS_ROLE, SUPERUSER
from tests.support.services import PostgresProcess

OLD_OBJECTS = """
    create extension pg_trgm;
    create type state as enum ('active');
    create table old (id bigserial primary key, number bigint generated always as identity,
        state state, name text);
    create index on old using gin (name gin_trgm_ops);
    create statistics together (dependencies) on id, number from old;
    create sequence alone;
    create view seen as select id from old;
    create function touched() returns trigger language plpgsql as 'begin return new; end';
    create trigger touched before update on old for each row execute function touched();
    create schema "more Tables";
    create table "more Tables"."Old" (id int);
    insert into old (name) values ('kept');
"""
NOT_THEIRS = f"""
    select relname from pg_class
    where relowner <> '{SERVERS_ROLE}'::regrole and relkind in ('r', 'i', 'S', 'v', 'c')
        and relnamespace in ('public'::regnamespace, '"more Tables"'::regnamespace)
"""


async def test_role_is_no_superuser_and_may_make_its_databases(
    own_postgres: PostgresProcess,
) -> None:
    connection = await asyncpg.connect(own_postgres.url)
    rights = await connection.fetchrow(
        "select rolsuper, rolcreaterole, rolreplication, rolbypassrls, rolcreatedb"
        " from pg_roles where rolname = current_user"
    )
    assert tuple(rights or ()) == (False, False, False, False, True)
    await connection.execute('create database "made by it"')
    await connection.execute("checkpoint")
    for forbidden in (
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
        f"alter role {SUPERUSER} password 'x'",
        "create role another",
        f"set role {SUPERUSER}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(forbidden)
    await connection.close()


async def test_superuser_has_no_password(own_postgres: PostgresProcess) -> None:
    url = own_postgres.url.replace(f"//{SERVERS_ROLE}:", f"//{SUPERUSER}:")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url)


async def test_databases_that_servers_made_as_the_superuser_are_given_to_their_role(
    own_postgres: PostgresProcess,
) -> None:
    cluster = own_postgres.cluster
    for name in ("artstore", '"odd Name"'):
        cluster.psql(f"create database {name}")
    cluster.psql(OLD_OBJECTS, database="artstore")
    cluster.admit_servers()
    assert cluster.psql(NOT_THEIRS, database="artstore") == ""
    owners = cluster.psql(
        "select datname, datdba::regrole from pg_database where datname in ('artstore', 'odd Name')"
    )
    assert owners.splitlines() == [f"artstore|{SERVERS_ROLE}", f"odd Name|{SERVERS_ROLE}"]
    connection = await asyncpg.connect(own_postgres.database_url("artstore"))
    assert await connection.fetchval("select name from old") == "kept"
    await connection.execute(
        "insert into old (name) values ('new'); alter table old add column more text;"
        "alter type state add value 'gone'; drop statistics together; drop sequence alone;"
        "create or replace function touched() returns trigger language plpgsql"
        " as 'begin return null; end'; create extension unaccent"
    )
    await connection.close()


async def test_tables_that_a_superuser_restores_are_given_at_the_next_start(
    own_postgres: PostgresProcess,
) -> None:
    cluster = own_postgres.cluster
    cluster.psql(f"create database artstore owner {SERVERS_ROLE}")
    cluster.psql("create table restored (a int)", database="artstore")
    cluster.admit_servers()
    connection = await asyncpg.connect(own_postgres.database_url("artstore"))
    assert await connection.fetchval("select count(*) from restored") == 0
    await connection.close()


def test_password_is_no_argument_of_a_program(
    own_postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = postgres.subprocess.run

    def noted(command: list[str], **others: object) -> object:
        seen.extend(command)
        return run(command, **others)  # type: ignore[call-overload]

    monkeypatch.setattr(postgres.subprocess, "run", noted)
    own_postgres.cluster.admit_servers()
    assert any(argument.endswith("psql") for argument in seen)
    assert own_postgres.cluster.password not in " ".join(seen)

"""`artstore collect`: what the mesh takes away by itself, now or as it would be."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from artstore.v1.lifecycle_pb2 import Collection, CollectionReason
from artstore_client import Client
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import enum_word
from artstore_client.cli.output import (
    human_size,
    human_time,
    print_error,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.running import run_command

_SHOWN = {
    "expired": "expired files, into the trash",
    "moved": "what moved files left behind",
    "surplus": "copies too many",
    "trash": "records of deleted files",
    "idle_upload": "uploads that nobody went on with",
    "orphan_blob": "blobs without a file, into quarantine",
}


def collect(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look: say what a collection would take away.")
    ] = False,
    past: Annotated[
        int | None, typer.Option("--list", min=1, metavar="N", help="Show the last N instead.")
    ] = None,
    max_delete_ratio: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest share of an element's blobs to go as orphans."),
    ] = None,
    operation_id: Annotated[str, typer.Option(help="Name to watch and stop it by.")] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Take away what nobody needs any more, as the mesh does each hour (ADMIN)."""

    async def command(client: Client) -> int:
        if past is not None:
            await _list(client, past, json=json)
            return exit_codes.OK
        found = await client.collections.run(
            dry_run=dry_run, max_delete_ratio=max_delete_ratio, operation_id=operation_id
        )
        if json:
            print_json(found)
        else:
            _print(found)
        return exit_codes.FAILURE if found.error_count else exit_codes.OK

    run_command(command)


async def _list(client: Client, limit: int, *, json: bool) -> None:
    found: list[Collection] = []
    async with aclosing(client.collections.list(page_size=min(limit, 1000))) as collections:
        async for one in collections:
            found.append(one)
            if len(found) == limit:
                break
    if json:
        for one in found:
            print_json(one)
        return
    print_table(
        ("collection", "began", "ended", ">looked at", ">collected", ">freed", ">errors"),
        [
            (
                one.collection_id,
                human_time(one.started_at),
                human_time(one.ended_at),
                str(one.examined_count),
                f"{one.collected_count}{' (dry run)' if one.dry_run else ''}",
                human_size(one.freed_size_bytes),
                str(one.error_count),
            )
            for one in found
        ],
    )


def _print(found: Collection) -> None:
    would = "would be " if found.dry_run else ""
    if found.counts:
        print_table(
            (">count", ">size", "what", "such as"),
            [
                (
                    str(count.count),
                    human_size(count.size_bytes),
                    _SHOWN.get(word := enum_word(CollectionReason.DESCRIPTOR, count.reason), word),
                    ", ".join(count.examples[:2]),
                )
                for count in found.counts
            ],
        )
    freed = human_size(found.freed_size_bytes)
    print_line(
        f"{found.examined_count} files looked at, {found.collected_count} {would}collected,"
        f" {freed} {would}freed"
    )
    for error in found.errors:
        print_error(error)

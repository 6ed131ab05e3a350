"""`artstore audit` as an auditor has it, before a real admin."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.running_admin import AUDITOR, SECRET, RunningAdmin, running_admin
from tests.support.services import clean_environment

COMMAND = (sys.executable, "-c", "from artstore_client.cli import main; main()")


async def artstore(admin: RunningAdmin, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one command."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "audit",
        *arguments,
        env=clean_environment()
        | {
            "ARTSTORE_ADMIN_ENDPOINT": f"localhost:{admin.server.port}",
            "ARTSTORE_CLIENT_ID": "auditor",
            "ARTSTORE_CLIENT_SECRET": SECRET,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_an_auditor_lists_verifies_and_exports(database_url: str, tmp_path: Path) -> None:
    accounts: list[dict[str, Any]] = [AUDITOR | {"namespaces": ["*"]}]
    async with running_admin(database_url, tmp_path, accounts=accounts) as admin:
        code, out, _ = await artstore(admin, "list", "--action", "CreateServiceAccount")
        assert code == 0
        (row,) = out.splitlines()[2:]
        assert row.split()[3:6] == ["CreateServiceAccount", "auditor", "done"]
        code, out, _ = await artstore(admin, "export")
        assert code == 0
        events = [json.loads(line) for line in out.splitlines()]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        code, out, _ = await artstore(admin, "verify")
        assert (code, out) == (0, f"{len(events)} events, none altered, missing or added\n")
        connection = await asyncpg.connect(f"{database_url}_admin")
        await connection.execute("UPDATE audit_events SET actor = 'mallory' WHERE sequence = 2")
        await connection.close()
        code, out, err = await artstore(admin, "verify")
        assert (code, out) == (1, "")
        assert "event 2 was altered" in err

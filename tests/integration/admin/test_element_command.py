"""`artstore element admit` as an ADMIN has it: what he names is admitted, and nothing else."""

from __future__ import annotations

from pathlib import Path

from artstore.v1 import elements_pb2
from tests.integration.admin.test_account_command import Shell
from tests.support.running_admin import RunningAdmin, report


async def test_only_what_an_admin_names_is_admitted(admin: RunningAdmin, tmp_path: Path) -> None:
    for endpoint in ("127.0.0.1:8010", "10.0.0.9:8010"):
        request = elements_pb2.ReportStorageElementRequest(report=report(endpoint=endpoint))
        await admin.elements.ReportStorageElement(request, **await admin.as_("storage-se-01"))
    shell = Shell(admin, tmp_path)
    command = ("element", "admit", "se-01")
    unasked = await shell.run(*command)
    assert unasked.code != 0
    assert "--endpoint 10.0.0.9:8010" in " ".join(unasked.err.split())
    wrong = await shell.run(*command, "--endpoint", "10.0.0.8:8010")
    assert wrong.code != 0
    assert "10.0.0.9:8010" in wrong.err
    get = elements_pb2.GetStorageElementRequest(storage_element_id="se-01")
    known = await admin.elements.GetStorageElement(get, **await admin.as_("admin"))
    assert known.element.endpoint == "127.0.0.1:8010"
    done = await shell.run(*command, "--endpoint", "10.0.0.9:8010")
    assert (done.code, "10.0.0.9:8010" in done.out) == (0, True)

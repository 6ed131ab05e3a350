"""`python -m admin_server`: how it starts, what it says when it cannot, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from launch.processes import free_port
from tests.support.running_admin import ADMIN, write_bootstrap_file
from tests.support.services import clean_environment
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[3]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "admin_server", *arguments]


def environment(**changes: str) -> Mapping[str, str]:
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "gen")])
    return {**clean_environment(), "PYTHONPATH": paths, **changes}


def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_serves_until_sigterm_and_logs_no_error_and_no_secret(
    database_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "admin.log"
    changes = {
        "ARTSTORE_DATABASE_URL": database_url,
        "ARTSTORE_DATA_DIR": str(tmp_path),
        "ARTSTORE_PORT": str(free_port()),
        "ARTSTORE_METRICS_PORT": "0",
        "ARTSTORE_LOG_PATH": str(log),
        "ARTSTORE_BOOTSTRAP_FILE": str(write_bootstrap_file(tmp_path / "accounts.json", [ADMIN])),
    }
    with subprocess.Popen(command(), env=environment(**changes)) as process:
        try:
            wait_until(lambda: log.exists() and "listening" in log.read_text(), 20, "listening")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line for line in lines if line["level"] != "info"] == []
    assert str(ADMIN["client_secret"]) not in log.read_text()
    assert lines[-1]["event"] == "stopped"


def test_a_missing_database_url_is_named() -> None:
    ended = run()
    assert ended.returncode == 2
    assert "ARTSTORE_DATABASE_URL" in ended.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "Invalid JSON"),
        ('{"accounts": [{"client_id": "admin"}]}', "accounts.0.client_secret"),
        (json.dumps({"accounts": [{**ADMIN, "role": "BOSS"}]}), "accounts.0.role"),
        (json.dumps({"accounts": [{**ADMIN, "role": "USER"}]}), "must be an ADMIN"),
        (json.dumps({"accounts": [{**ADMIN, "client_id": "A"}]}), "client_id is 3 to 64"),
    ],
)
def test_a_wrong_bootstrap_file_ends_the_start_and_shows_no_secret(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "accounts.json"
    file.write_text(text)
    file.chmod(0o600)
    ended = run(
        ARTSTORE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/artstore",
        ARTSTORE_DATA_DIR=str(tmp_path),
        ARTSTORE_BOOTSTRAP_FILE=str(file),
    )
    assert ended.returncode == 1
    assert str(file) in ended.stderr
    assert said in ended.stderr
    assert str(ADMIN["client_secret"]) not in ended.stderr


def test_wrong_bootstrap_accounts_of_the_environment_end_the_start_and_show_no_secret(
    tmp_path: Path,
) -> None:
    ended = run(
        ARTSTORE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/artstore",
        ARTSTORE_DATA_DIR=str(tmp_path),
        ARTSTORE_BOOTSTRAP_ACCOUNTS=json.dumps({"accounts": [{**ADMIN, "role": "USER"}]}),
    )
    assert ended.returncode == 1
    assert "ARTSTORE_BOOTSTRAP_ACCOUNTS: 'admin': " in ended.stderr
    assert str(ADMIN["client_secret"]) not in ended.stderr


def test_a_bootstrap_file_beside_bootstrap_accounts_is_refused(tmp_path: Path) -> None:
    ended = run(
        ARTSTORE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/artstore",
        ARTSTORE_BOOTSTRAP_FILE=str(tmp_path / "accounts.json"),
        ARTSTORE_BOOTSTRAP_ACCOUNTS=json.dumps({"accounts": [ADMIN]}),
    )
    assert ended.returncode == 2
    assert "BOOTSTRAP_FILE or BOOTSTRAP_ACCOUNTS is set, not both" in ended.stderr
    assert str(ADMIN["client_secret"]) not in ended.stderr


def test_the_resolved_settings_mask_passwords() -> None:
    ended = run(
        "--check-config",
        ARTSTORE_DATABASE_URL="postgresql://me:hidden@127.0.0.1:1/artstore",
        ARTSTORE_KEY_ROTATION_DAYS="7",
    )
    assert ended.returncode == 0
    assert "hidden" not in ended.stdout
    assert json.loads(ended.stdout)["ARTSTORE_KEY_ROTATION_DAYS"] == 7.0

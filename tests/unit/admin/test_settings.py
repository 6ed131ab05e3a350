"""Each setting of admin comes from its variable and has its effect."""

from __future__ import annotations

from datetime import timedelta

import pytest

from admin_server.settings import AdminSettings
from mesh.settings import SettingsError, load


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTSTORE_DATABASE_URL", "postgresql://me@/artstore?host=/run/pg")


def test_admins_database_stands_beside_the_elements() -> None:
    settings = load(AdminSettings)
    assert settings.port == 8000
    assert settings.admin_database_name == "artstore_admin"
    assert settings.admin_database_url == "postgresql://me@/artstore_admin?host=/run/pg"


def test_admins_database_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTSTORE_ADMIN_DATABASE", "elsewhere")
    assert load(AdminSettings).admin_database_url == "postgresql://me@/elsewhere?host=/run/pg"


def test_key_rotation_is_in_days(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(AdminSettings).key_rotation == timedelta(days=30)
    monkeypatch.setenv("ARTSTORE_KEY_ROTATION_DAYS", "0.5")
    assert load(AdminSettings).key_rotation == timedelta(hours=12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ARTSTORE_KEY_ROTATION_DAYS", "0"),
        ("ARTSTORE_KEY_ROTATION_DAYS", "soon"),
        ("ARTSTORE_DATABASE_URL", ""),
        ("ARTSTORE_DATABASE_URL", "postgresql://127.0.0.1:5432"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(AdminSettings)


def test_a_tombstone_outlives_what_may_still_pull_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTSTORE_TOMBSTONE_DAYS", "0.011")
    with pytest.raises(SettingsError, match=r"TOMBSTONE_DAYS \(0.011\) must be more than 960 s"):
        load(AdminSettings)
    monkeypatch.setenv("ARTSTORE_TICKET_SECONDS", "600")
    assert load(AdminSettings).tombstone_days == 0.011


def test_the_first_change_of_a_home_waits_for_what_was_decided_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARTSTORE_FIRST_HOME_STEP_SECONDS", "5")
    with pytest.raises(SettingsError, match="FIRST_HOME_STEP_SECONDS"):
        load(AdminSettings)
    monkeypatch.setenv("ARTSTORE_DECISIONS_LIVE_SECONDS", "5")
    assert load(AdminSettings).first_home_step_seconds == 5
    # Elements take nothing for longer.
    monkeypatch.setenv("ARTSTORE_FIRST_HOME_STEP_SECONDS", "100")
    monkeypatch.setenv("ARTSTORE_DECISIONS_LIVE_SECONDS", "100")
    with pytest.raises(SettingsError, match="DECISIONS_LIVE_SECONDS"):
        load(AdminSettings)

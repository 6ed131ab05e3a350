"""Starts the admin server: `python -m admin_server [--check-config]`."""

from __future__ import annotations

from admin_server.app import build
from admin_server.settings import AdminSettings
from mesh.server.server import run

if __name__ == "__main__":
    run("admin", AdminSettings, build)

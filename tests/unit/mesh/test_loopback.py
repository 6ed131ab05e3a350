"""Which addresses are this machine's own."""

from __future__ import annotations

import pytest

from mesh.calls.loopback import on_loopback


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:8010",
        "127.8.0.1",
        "localhost:8010",
        "LOCALHOST.",
        "s3.localhost",
        "[::1]:8010",
        "http://127.0.0.1:9000",
        "https://[::1]/bucket",
        "http://0.0.0.0:9000",
        "[::]:8010",
    ],
)
def test_loopback_is_known_in_every_form(endpoint: str) -> None:
    assert on_loopback(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    ["", "10.0.0.1:8010", "se-01:8010", "http://s3.example.com", "http://[::1", "localhost.org:1"],
)
def test_everything_else_is_elsewhere(endpoint: str) -> None:
    assert not on_loopback(endpoint)

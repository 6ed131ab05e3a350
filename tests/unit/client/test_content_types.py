"""Media types guessed from names."""

from __future__ import annotations

import pytest

from artstore_client.uploads.content_types import guessed


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("data.csv.gz", "application/gzip"),
        ("DATA.CSV.GZ", "application/gzip"),
        ("backup.tar.gz", "application/gzip"),
        ("backup.tgz", "application/gzip"),
        ("page.html.br", "application/x-brotli"),
        ("log.txt.xz", "application/x-xz"),
        ("log.txt.bz2", "application/x-bzip2"),
        ("log.json.zst", "application/zstd"),
        ("data.csv.zip", "application/zip"),
        ("report.PDF", "application/pdf"),
        ("data:text/html,a.csv", "text/csv"),
        ("50%2Epdf.txt", "text/plain"),
        ("a?b#c.png", "image/png"),
        ("README", ""),
        (".gz", ""),
        ("odd.", ""),
    ],
)
def test_a_file_is_what_its_last_extension_says(name: str, media_type: str) -> None:
    assert guessed(name) == media_type

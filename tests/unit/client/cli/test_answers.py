"""JSON, exit codes and text of the command."""

from __future__ import annotations

import json

import pytest

from artstore.v1 import cache_pb2, operations_pb2, query_pb2, types_pb2
from artstore_client import errors
from artstore_client.cli import exit_codes
from artstore_client.cli.as_json import as_json, dumps
from artstore_client.cli.cache_summary import advice_lines, rebuild_line, report_lines
from artstore_client.cli.output import human_size, print_error, print_line, print_table
from artstore_client.cli.search import MATCH_BEGIN, MATCH_END, highlighted
from artstore_client.cli.visible import visible


def test_json_has_numbers_short_enums_and_times() -> None:
    file = types_pb2.File(
        file_id="x",
        size_bytes=2**53 + 1,
        retention_policy=types_pb2.RETENTION_POLICY_TEMPORARY,
        tags=["a"],
        attributes={"k": "v"},
    )
    file.created_at.FromJsonString("2026-01-02T03:04:05.5Z")
    found = as_json(file)
    assert found["size_bytes"] == 2**53 + 1
    assert found["retention_policy"] == "temporary"
    assert found["state"] == "unspecified"
    assert found["created_at"] == "2026-01-02T03:04:05.500000Z"
    assert found["tags"] == ["a"]
    assert found["attributes"] == {"k": "v"}
    assert found["cache_stale"] is False
    assert "expires_at" not in found
    assert "crc32c" not in found


def test_json_goes_into_lists_and_messages() -> None:
    page = query_pb2.SearchFilesResponse(
        results=[query_pb2.SearchResult(file=types_pb2.File(file_id="x"), score=1.5)]
    )
    assert as_json(page)["results"][0]["file"]["file_id"] == "x"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), 3),
        (errors.Unauthenticated("x"), 4),
        (errors.PermissionDenied("x"), 4),
        (errors.Unavailable("x"), 5),
        (errors.DeadlineExceeded("x"), 5),
        (errors.DataLoss("x"), 6),
        (errors.ConfigurationError("x"), 2),
        (errors.InvalidArgument("x"), 2),
        (errors.Aborted("x"), 1),
        (errors.Internal("x"), 1),
        (OSError("x"), 1),
    ],
)
def test_exit_code_of_an_error(error: Exception, code: int) -> None:
    assert exit_codes.code_of(error) == code


def test_first_failure_decides_the_exit_code() -> None:
    assert exit_codes.worst([0, 3, 5]) == 3
    assert exit_codes.worst([]) == 0


OBEYED = "a\n\t\r\x1b[2J\x7f\x85\x9b\u2028\u2029\u202e\u2066\x0b\x1c"
SHOWN = r"a\n\t\r\x1b[2J\x7f\x85\x9b\u2028\u2029\u202e\u2066\x0b\x1c"


def test_what_a_terminal_obeys_is_shown_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(OBEYED)
    print_error(errors.NotFound(f"no {OBEYED}"), about=OBEYED)
    printed = capsys.readouterr()
    assert printed.out == f"{SHOWN}\n"
    assert printed.err == f"artstore: no {SHOWN}\n"


@pytest.mark.parametrize(
    "name", ["отчёт 👨‍👩‍👧", "a\u202fb\u00a0c\u3000d\u200ce", "100% \\ 'q'", "x\u0302 שלום\u200f"]
)
def test_other_names_are_shown_as_they_are(name: str) -> None:
    assert visible(name) == name


def test_json_has_the_same_value_and_nothing_that_a_terminal_obeys() -> None:
    document = dumps({OBEYED: [OBEYED, "é\u00a0🎉"]})
    assert json.loads(document) == {OBEYED: [OBEYED, "é\u00a0🎉"]}
    assert document == visible(document)
    assert "é\u00a0🎉" in document


def test_row_of_a_table_is_one_line_as_long_as_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("id", ">n", "name"), [("日本", "1", OBEYED), ("b", "10", "x" * 400 + " ")])
    assert capsys.readouterr().out.splitlines() == [
        "id     n  name",
        "─" * 80,
        f"日本   1  {SHOWN}",
        f"b     10  {'x' * 400} ",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert human_size(size) == text


def test_matches_are_bold_and_nothing_is_lost() -> None:
    shown = highlighted(f"a {MATCH_BEGIN}b{MATCH_END} c {MATCH_BEGIN}d{MATCH_END}")
    assert shown.plain == "a b c d"
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["b", "d"]


def test_report_tells_each_kind_of_finding_with_examples() -> None:
    report = cache_pb2.ConsistencyReport(
        total_attr_files=2,
        total_cache_entries=1,
        orphan_attr_count=1,
        inconsistency_percentage=50,
        level=cache_pb2.CHECK_LEVEL_FULL,
        details=cache_pb2.ConsistencyDetails(orphan_attr_files=["2026/a.attr.json"]),
    )
    lines = list(report_lines("se-01", report))
    assert "INCONSISTENT  50 %" in lines[0]
    assert lines[1:] == ["  1 sidecars without a row", "    2026/a.attr.json"]


def test_each_kind_of_finding_comes_with_what_to_do() -> None:
    counts = [
        field.name
        for field in cache_pb2.ConsistencyReport.DESCRIPTOR.fields
        if field.name.endswith("_count")
    ]
    report = cache_pb2.ConsistencyReport(**dict.fromkeys(counts, 1))
    advice = list(advice_lines("se-01", report))
    assert len(advice) == len(counts) == len(list(report_lines("se-01", report))) - 1
    assert all(": " in line for line in advice)
    assert "artstore cache rebuild se-01 --restore-names" in "".join(advice)
    assert list(advice_lines("se-01", cache_pb2.ConsistencyReport())) == []


def test_rebuild_tells_what_it_did() -> None:
    result = cache_pb2.RebuildResult(
        operation_kind=operations_pb2.OPERATION_KIND_FULL_REBUILD,
        duration_seconds=2.0,
        statistics=cache_pb2.RebuildStatistics(
            attr_files_scanned=100,
            cache_entries_before=90,
            cache_entries_after=100,
            entries_created=10,
        ),
    )
    line = rebuild_line("se-01", result)
    assert "rows 90 -> 100" in line
    assert "50 files/s" in line

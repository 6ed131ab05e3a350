"""`artstore selftest`: twelve checks of a running mesh."""

from __future__ import annotations

from typing import Annotated

import typer

from artstore_client import Client
from artstore_client.cli import exit_codes, interrupts
from artstore_client.cli.output import print_error, print_json, print_line, print_row
from artstore_client.cli.running import run_command
from artstore_client.selftest.scratch import REMOVE_SECONDS
from artstore_client.selftest.selftest import DEFAULT_LIMIT_SECONDS, CheckResult, Outcome, SelfTest

_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.SKIPPED: "yellow"}


def selftest(
    *,
    element: Annotated[
        str, typer.Option(help="Test the cache of this one; default: where the first file goes.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="For the scratch files; default: a new one.")] = "",
    limit: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Longest time of one check.")
    ] = DEFAULT_LIMIT_SECONDS,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Try a running mesh out, from upload to lazy refresh (ADMIN).

    Twelve checks on two or three scratch files in a scratch namespace, which are deleted at the
    end, also after Ctrl-C; the trash keeps them for 7 days, and an element of mode rw for the one
    day that they are good for. The files of others are not touched. A full rebuild reads all
    sidecars of the element again and renews its rows; it is skipped where rows have no sidecar,
    and the cleanup where rows are expired, since these are not ours to remove. No call makes a
    row expire: incremental, cleanup and lazy refresh are watched at work that leaves every row as
    it is.

    Exit code 0 only if all twelve passed.
    """

    async def command(client: Client) -> int:
        test = SelfTest(client, element_id=element, namespace=namespace, limit_seconds=limit)
        results: list[CheckResult] = []
        width = max(map(len, test.names))

        def told(result: CheckResult) -> None:
            results.append(result)
            if not json:
                _print_result(result, width)

        ending = interrupts.cleaning_up(
            "removing the scratch files", seconds=REMOVE_SECONDS + interrupts.CLEANUP_SECONDS
        )
        with ending, interrupts.telling(test.scratch.not_removed):
            try:
                await test.run(told)
            finally:
                for what in test.scratch.left:
                    print_error(f"a scratch file is left: {what}")
        passed = all(result.outcome is Outcome.PASSED for result in results)
        if json:
            print_json(_document(test, results, passed=passed))
        else:
            number = sum(result.outcome is Outcome.PASSED for result in results)
            print_line(f"{number} of {len(results)} passed on {test.element_id}")
        return exit_codes.OK if passed else exit_codes.FAILURE

    run_command(command)


def _print_result(result: CheckResult, width: int) -> None:
    print_row(
        (f"{result.outcome:7}", _STYLES[result.outcome]),
        (f"{result.seconds:8.3f} s", ""),
        (f"{result.name:{width}}", "bold"),
        (result.seen, ""),
    )


def _document(test: SelfTest, results: list[CheckResult], *, passed: bool) -> dict[str, object]:
    return {
        "passed": passed,
        "storage_element_id": test.element_id,
        "namespace": test.scratch.namespace,
        "checks": [
            {
                "name": result.name,
                "result": result.outcome.value,
                "duration_seconds": round(result.seconds, 6),
                "seen": result.seen,
            }
            for result in results
        ],
        "left": test.scratch.left,
    }

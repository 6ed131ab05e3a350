"""The end of a process of the command: whatever happened is at most one line and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

from artstore_client.cli import exit_codes, streams
from artstore_client.cli.output import print_error


def ended(run: Callable[[], int]) -> int:
    """The exit code of `run`, when all that it printed is out, or of what it raised."""
    try:
        code = run()
        streams.flush()
    except KeyboardInterrupt:
        print_error("interrupted")
        return exit_codes.INTERRUPTED
    except streams.OutputFailed as failed:
        # Whoever read the answers has gone, or there is no room; nothing more can be told there.
        if not failed.gone:
            print_error(failed)
        return exit_codes.FAILURE
    except exit_codes.EXPECTED as error:
        print_error(error)
        return exit_codes.code_of(error)
    except Exception as error:
        print_error(_fault(error))
        return exit_codes.FAILURE
    return code


def _fault(error: Exception) -> str:
    """One line for what nobody foresaw, with the place, for whoever mends it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"a fault of this program, {type(error).__name__} in {where}: {text}"

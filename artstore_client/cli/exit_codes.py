"""What the command's exit codes mean, and which error ends with which."""

from __future__ import annotations

from artstore_client import errors

OK = 0
FAILURE = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
UNAVAILABLE = 5
DATA_LOSS = 6
INTERRUPTED = 130

HELP = (
    "Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 not found, "
    "4 refused (token, role), 5 unavailable, 6 data loss, 130 interrupted, 143 terminated."
)

_TABLE: tuple[tuple[type[Exception], int], ...] = (
    (errors.ConfigurationError, USAGE),
    (errors.InvalidArgument, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.Unauthenticated, REFUSED),
    (errors.PermissionDenied, REFUSED),
    (errors.Unavailable, UNAVAILABLE),
    (errors.DataLoss, DATA_LOSS),
    (UnicodeError, USAGE),
)

# What a command may meet; anything else is a fault of this program. Arguments may hold bytes that
# are no text.
EXPECTED = (errors.ArtStoreError, OSError, UnicodeError)


def code_of(error: BaseException) -> int:
    """The exit code of an error that ended the command."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code
    return FAILURE


def worst(codes: list[int]) -> int:
    """The code of a command that did several things: the first that is not OK."""
    return next((code for code in codes if code != OK), OK)

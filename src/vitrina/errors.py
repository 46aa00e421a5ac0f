"""Errors that a user can fix, and the one line that says how."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user can mend: a file, a column, a row, a setting.

    The message is one line that names the file, row or field, and the mend. The command line
    prints it to stderr and exits with code 2; nothing half-written stays behind.
    """


class MissingExtraError(InputError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package '{package}': install it with: pip install 'vitrina[{extra}]'"
        )


@contextmanager
def error_prefix(where: str) -> Iterator[None]:
    """Put `where` (a file, a part of a file) before the message of any `InputError` raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None

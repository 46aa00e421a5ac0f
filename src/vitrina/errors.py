"""The one error a user is meant to read."""


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

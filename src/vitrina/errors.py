"""Errors that a user can fix. Each message is one line that says how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A mistake in the input that the user can fix: in a file, a column, a row or a setting.

    The message is one line that names the file, row or field and says how to fix it. It writes the
    names of parameters in backquotes, which the command line replaces with its options. The command
    line prints the message to stderr and exits with code 2. No partial output is left.

    Parameters
    ----------
    message : str
        It may quote a file of a stranger: what can't be printed becomes an escape, and beyond 1,000
        characters an ellipsis.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shown(message, 1_000))


class MissingExtraError(InputError, ImportError):
    """An optional dependency is not installed.

    The message contains the command that installs it.

    Parameters
    ----------
    package : str
        Name of the missing package.
    extra : str
        Extra of vitrina that installs the package.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package '{package}': install it with: pip install 'vitrina[{extra}]'"
        )


@contextmanager
def error_prefix(where: str) -> Iterator[None]:
    """Put `where` and a colon before the message of any `InputError` raised inside the block.

    Parameters
    ----------
    where : str
        Place of the mistake, such as a file or a part of it.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def shown(text: str, longest: int = 200) -> str:
    """Return text of a stranger as it can be printed.

    Control characters could change a terminal or break a one-line message.

    Parameters
    ----------
    text : str
    longest : int, optional
        Characters to keep; an ellipsis stands for the others.

    Returns
    -------
    str
        Characters that can't be printed are written as escapes, such as ``\\x1b``.
    """
    cut = text[:longest] + "…" if len(text) > longest else text
    if cut.isprintable():
        return cut
    parts = []
    for char in cut:
        parts.append(char if char.isprintable() else char.encode("unicode_escape").decode())
    return "".join(parts)

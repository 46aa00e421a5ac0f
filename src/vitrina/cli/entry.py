"""The entry point: runs a command, and turns errors into one line and an exit code."""

from __future__ import annotations

import re
import signal
import sys

from cyclopts import CycloptsError

# importing a module registers its commands
from vitrina.cli import (  # noqa: F401
    commands_classify,
    commands_compare,
    commands_doctor,
    commands_evaluate,
    commands_label,
    commands_search,
    commands_serve,
    commands_track,
    commands_train,
    commands_vectors,
)
from vitrina.cli.app import app
from vitrina.errors import InputError


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 when done, 1 when interrupted, 2 for a user's mistake.

    Parameters
    ----------
    arguments : list of str, optional
        The command and its options; those of the process if not given.
    """
    # SIGTERM is treated as Ctrl-C, so that nothing half-written is left
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_exit_code(sys.argv[1:] if arguments is None else arguments))


def _exit_code(arguments: list[str]) -> int:
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _say(error, 2)
    except InputError as error:
        return _say(_name_options(str(error), arguments), 2)
    except KeyboardInterrupt as error:
        message = str(error) or "interrupted"
        return _say(_name_options(message, arguments), 1)
    except MemoryError:
        return _say("not enough memory; close other programs, or give smaller tables", 2)
    except BrokenPipeError:
        return 1  # the program that reads our output has ended
    except OSError as error:
        if error.strerror is None:
            raise
        return _say(f"{error.filename or 'output'}: {error.strerror.lower()}", 2)
    return 0


def _say(message: object, code: int) -> int:
    line = " ".join(str(message).split())
    sys.stderr.write(f"vitrina: {line}\n")
    return code


# Parameters of the library that a command's options or arguments call by another name.
_RENAMED = {
    "max_products": ["max_session_products"],
    "path": ["source_dir"],
    "source": ["input", "catalogue", "products", "labels"],
    "query": ["title"],
    "label_column": ["label"],
    "category_column": ["category"],
    "encoders": ["encoder"],
    "tasks_file": ["tasks"],
    "max_minutes": ["minutes"],
}


def _name_options(message: str, arguments: list[str]) -> str:
    """Replace the backquoted parameters in a library's message by the command's options.

    Backquotes around any other name are removed.
    """
    _, apps, _ = app.parse_commands(arguments)
    names = {}
    for argument in apps[-1].assemble_argument_collection():
        names[argument.field_info.name] = argument.names[0]

    def option(match: re.Match[str]) -> str:
        name = match[1]
        for candidate in [name, *_RENAMED.get(name, [])]:
            if candidate in names:
                return names[candidate]
        return name

    return re.sub(r"`(\w+)`", option, message)

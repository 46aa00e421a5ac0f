"""The command line: commands that call the library's public functions.

Each command imports what it needs when it runs, so that help, versions and mistakes are fast.
"""

from vitrina.cli.app import app
from vitrina.cli.entry import main

__all__ = ["app", "main"]

"""Run the command line as `python -m vitrina`."""

from vitrina.cli import main

main()

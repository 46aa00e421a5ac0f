"""The application that the commands register with, and options that several of them share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from vitrina._version import __version__

app = App(
    name="vitrina",
    help="Product embeddings from browsing sessions: train one title encoder, use it everywhere.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # `main` prints what was saved and how to continue
)
app.register_install_completion_command()

COLUMNS = Group("Columns of your tables", sort_key=2)
RUN = Group("The run", sort_key=3)

EncoderFolder = Annotated[Path, Parameter(help="Folder of the encoder.")]
Force = Annotated[bool, Parameter(group=RUN, help="Replace existing output.")]
OutputTable = Annotated[Path, Parameter(help="Parquet file to write.")]
Quiet = Annotated[bool, Parameter(group=RUN, help="Show results and warnings only.")]
Threads = Annotated[
    int | None,
    Parameter(
        group=RUN, help="Number of threads; all processors by default.", validator=Number(gte=1)
    ),
]
TitleColumn = Annotated[str, Parameter(group=COLUMNS, help="Column of the titles.")]


def titles_of(title_column: str) -> str:
    """What stands for a table of titles in a command that is proposed as the next one."""
    if title_column == "title":
        return "TITLES"
    return f"TITLES --title-column {shlex.quote(title_column)}"

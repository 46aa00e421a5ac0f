"""The commands `vitrina label ...`: a page to label on, and the same choice for other tools."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.table import Table
from rich.text import Text

from vitrina.cli.app import RUN, Force, Quiet, TitleColumn, app
from vitrina.errors import InputError, MissingExtraError, shown
from vitrina.progress import console

if TYPE_CHECKING:
    from vitrina.labelling.audit import ClassScore, Estimate

label = App(name="label")
app.command(label)

HOST, PORT = "127.0.0.1", 8417

LabelTable = Annotated[Path, Parameter(help="Label file: CSV or Parquet; it needn't exist yet.")]


@label.default
def page(
    catalogue: Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV, ...")],
    /,
    *,
    encoder: Annotated[Path, Parameter(help="Folder of the encoder.")],
    out: Annotated[
        Path, Parameter(help="Label file: CSV or Parquet. It is made, or continued if it exists.")
    ],
    classes: Annotated[
        list[str] | None,
        Parameter(
            help="Two to nine classes; yes and no by default. The score is that of the first.",
            consume_multiple=True,
        ),
    ] = None,
    port: Annotated[
        int | None,
        Parameter(
            group=RUN,
            help=f"Port of the page; {PORT}, or a free one if that is taken.",
            validator=Number(gte=0, lte=65535),
        ),
    ] = None,
    no_open: Annotated[bool, Parameter(group=RUN, help="Open no browser.")] = False,
    title_column: TitleColumn = "title",
    seed: Annotated[
        int, Parameter(group=RUN, help="Random seed: the same for all labels of a file.")
    ] = 0,
    quiet: Quiet = False,
) -> None:
    """Label titles on a page in the browser, and watch the score.

    Only this machine reaches the page. Each answer is in the label file before the next title
    appears. Stop with Ctrl-C, and go on later with the same command.

    Example: `vitrina label catalogue.parquet --encoder encoder --out labels.parquet`
    """
    for package in ("jinja2", "starlette", "uvicorn"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.labelling.page_server import serve_page
    from vitrina.labelling.page_state import PageState
    from vitrina.labelling.project import LabellingProject

    with _listener(port) as listener:
        project = LabellingProject(
            TitleEncoder.load(encoder),
            catalogue,
            out,
            title_column=title_column,
            seed=seed,
            quiet=quiet,
        )
        state = PageState(project, classes or ())
        notes = console(stderr=True, quiet=quiet)
        url = f"http://{HOST}:{listener.getsockname()[1]}/label/"

        def ready() -> None:
            console().print(f"label at {url} (Ctrl-C stops; labels are in {out})")
            if not no_open and _has_screen():
                # in a thread, because the page can't answer while this one waits for the browser
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        try:
            serve_page(state, listener, ready)
        except KeyboardInterrupt:
            notes.print(f"{len(project.file.read()):,} titles: {out}")


def _listener(port: int | None) -> socket:
    """A socket for the page. The usual port lets an open page go on after a restart."""
    from vitrina.serving.service_options import listening_socket

    if port is not None:
        return listening_socket(HOST, port)
    try:
        return listening_socket(HOST, PORT)
    except InputError:
        return listening_socket(HOST, 0)


def _has_screen() -> bool:
    """Whether a browser can be opened; without a screen, a text browser would take the terminal."""
    is_unix = sys.platform not in ("win32", "darwin")
    return not is_unix or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@label.command(name="next")
def next_titles(
    catalogue: Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV, ...")],
    /,
    *,
    encoder: Annotated[Path, Parameter(help="Folder of the encoder.")],
    labels: LabelTable,
    n: Annotated[
        int, Parameter(name=["-n", "--n"], help="Number of titles.", validator=Number(gte=1))
    ] = 20,
    out: Annotated[Path, Parameter(help="CSV file to write: titles with an empty column label.")],
    title_column: TitleColumn = "title",
    seed: Annotated[
        int, Parameter(group=RUN, help="Random seed: the same for all labels of a file.")
    ] = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the titles that should be labelled next, and show the score so far.

    Fill in the column `label` and give the file to `vitrina label add`. The score is computed from
    random titles alone. With the same files and seed, the same titles are chosen.

    Example: `vitrina label next catalogue.parquet --encoder encoder --labels labels.csv
    --out next.csv`
    """
    import polars as pl

    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.files import atomic_path, refuse_existing
    from vitrina.labelling.project import LabellingProject

    if out.suffix.lower() != ".csv":
        raise InputError(f"{out}: the output is CSV; give a name that ends in .csv")
    refuse_existing(out, force)
    project = LabellingProject(
        TitleEncoder.load(encoder),
        catalogue,
        labels,
        title_column=title_column,
        seed=seed,
        quiet=quiet,
    )
    chosen = project.next_titles(n).with_columns(encoder=pl.lit(project.file.encoder))
    with atomic_path(out, force=force) as temporary:
        chosen.write_csv(temporary)
    scores = project.score()
    if scores:
        _show(scores)
    by_strategy = chosen["strategy"].value_counts(sort=True).rows()
    counts = ", ".join(f"{count} {name}" for name, count in by_strategy)
    notes = console(stderr=True, quiet=quiet)
    notes.print(f"{len(project.labelled().rows):,} labels so far")
    notes.print(f"{len(chosen):,} titles ({counts}): {out}")
    notes.print(f"next: fill in its column label, then: vitrina label add {labels} {out}")


@label.command
def add(
    labels: LabelTable,
    filled: Annotated[
        Path, Parameter(help="Table with the columns title and label, such as a filled-in file.")
    ],
    /,
    *,
    quiet: Quiet = False,
) -> None:
    """Add the labels of a table to a label file.

    A title that the label file has already gets the new label. Rows without a label are left out.

    Example: `vitrina label add labels.csv next.csv`
    """
    from vitrina.labelling.label_file import COLUMNS, ENCODER, LabelFile, read_labels

    rows = read_labels(filled).drop_nulls("label")
    if rows.is_empty():
        raise InputError(f"{filled}: no row has a label; fill in the column label first")
    rows = rows.select(name for name in rows.columns if name in (*COLUMNS, ENCODER))
    file = LabelFile(labels)
    file.extend(rows)
    console(stderr=True, quiet=quiet).print(
        f"{len(rows):,} labels added\n{len(file.read()):,} titles: {labels}"
    )


def _show(scores: list[ClassScore]) -> None:
    """Print the score of each class, with 95 % intervals."""
    titles = scores[0].titles
    table = Table(
        "class",
        "share",
        "AUC ROC",
        "average precision",
        "precision at 100",
        title=f"score from {titles:,} random titles, with 95 % intervals",
    )
    for score in scores:
        estimates = (score.share, score.auc, score.average_precision, score.precision_at_k)
        table.add_row(Text(shown(score.label)), *(_written(estimate) for estimate in estimates))
    console().print(table)


def _written(estimate: Estimate | None) -> str:
    if estimate is None:
        return "too few titles"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"

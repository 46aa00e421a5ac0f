"""The commands `vitrina label ...`: which titles to label next, for teams that label elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.table import Table
from rich.text import Text

from vitrina.cli.app import RUN, Force, Quiet, TitleColumn, app
from vitrina.errors import InputError, shown
from vitrina.progress import console

if TYPE_CHECKING:
    from vitrina.labelling.audit import ClassScore, Estimate

label = App(name="label", help="Choose the titles whose labels teach a classifier most.")
app.command(label)

LabelTable = Annotated[Path, Parameter(help="Label file: CSV or Parquet; it needn't exist yet.")]


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
    chosen = project.next_titles(n)
    with atomic_path(out, force=force) as temporary:
        chosen.write_csv(temporary)
    scores = project.score()
    if scores:
        _show(scores)
    by_strategy = chosen["strategy"].value_counts(sort=True).rows()
    counts = ", ".join(f"{count} {name}" for name, count in by_strategy)
    console(stderr=True, quiet=quiet).print(
        f"{len(project.labelled().rows):,} labels so far\n{len(chosen):,} titles ({counts}): {out}"
    )


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
    from vitrina.labelling.label_file import COLUMNS, LabelFile, read_labels

    rows = read_labels(filled).select(COLUMNS).drop_nulls("label")
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

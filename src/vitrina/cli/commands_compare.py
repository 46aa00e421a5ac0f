"""The command `vitrina compare`: a change of encoder, and the drift of a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vitrina.cli.app import COLUMNS, Force, Quiet, TitleColumn, app
from vitrina.errors import InputError
from vitrina.progress import console


@app.command
def compare(
    old: Annotated[Path, Parameter(help="Folder of the encoder in use.")],
    new: Annotated[Path, Parameter(help="Folder of the encoder to take its place.")],
    /,
    *,
    titles: Annotated[str, Parameter(help="Table with the titles of today.")],
    out: Annotated[Path, Parameter(help="HTML page to write; the figures go beside it as JSON.")],
    trained_on: Annotated[
        str | None, Parameter(help="Table with the titles that OLD was trained on, for the drift.")
    ] = None,
    labels: Annotated[
        str | None, Parameter(help="Table with titles and labels, to refit a classifier.")
    ] = None,
    max_auc: Annotated[
        float, Parameter(help="Bound of the drift: AUC of the domain classifier.")
    ] = 0.6,
    label: Annotated[
        str, Parameter(group=COLUMNS, help="Column of the labels in the table of --labels.")
    ] = "label",
    category: Annotated[
        str | None, Parameter(group=COLUMNS, help="Column of a category, to compare its shares.")
    ] = None,
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compare two encoders on a catalogue, and the catalogue with that of the training.

    Example: `vitrina compare encoder-1 encoder-2 --titles today.parquet --trained-on 2024.parquet
    --out comparison.html`

    Exit code: 0, or 1 if the catalogue has drifted above the bound, or 2 for wrong input. To watch
    the drift alone, give the same encoder twice.
    """
    from vitrina.comparison.compare import compare_encoders
    from vitrina.comparison.compare_page import comparison_page, result_lines
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.files import atomic_path, refuse_existing, write_json

    if out.suffix.lower() != ".html":
        raise InputError(f"{out}: the output is a page; give a name that ends in .html")
    figures = out.with_suffix(".json")
    for path in (out, figures):
        refuse_existing(path, force)
    record = compare_encoders(
        TitleEncoder.load(old),
        TitleEncoder.load(new),
        titles,
        trained_on=trained_on,
        labels=labels,
        label_column=label,
        category_column=category,
        title_column=title_column,
        max_auc=max_auc,
        quiet=quiet,
    )
    with atomic_path(out) as temporary:
        names = {"old": str(old), "new": str(new)}
        temporary.write_text(comparison_page(record, names), "utf-8")
    write_json(figures, record)
    for line in result_lines(record):
        console().print(line)
    console(stderr=True, quiet=quiet).print(f"page: {out}\nfigures: {figures}")
    if record["drifted"]:
        raise SystemExit(1)

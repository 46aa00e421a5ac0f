"""The commands `vitrina classify ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from vitrina.cli.app import EncoderFolder, Force, OutputTable, Quiet, TitleColumn, app
from vitrina.progress import console, counted

classify = App(name="classify", help="Classify titles with a frozen encoder and few labels.")
app.command(classify)


@classify.command
def fit(
    encoder: EncoderFolder,
    labels: Annotated[str, Parameter(help="Table with titles and a column of labels.")],
    /,
    *,
    label: Annotated[str, Parameter(help="Column of the labels.")],
    out: Annotated[Path, Parameter(help="Folder that the classifier is written to.")],
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit a classifier on labelled titles and show its cross-validated score.

    Example: `vitrina classify fit encoder labels.csv --label condition --out classifier`
    """
    from vitrina.classification.classifier import KIND
    from vitrina.classification.predict import fit_file
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.files import refuse_existing

    refuse_existing(out, force, KIND)
    model = TitleEncoder.load(encoder)
    classifier, score, counts = fit_file(
        model, labels, label_column=label, title_column=title_column
    )
    classifier.save(out, force=force)
    console().print(score)
    console(stderr=True, quiet=quiet).print(f"labels: {counted(counts)}\nclassifier: {out}")


@classify.command
def predict(
    classifier: Annotated[Path, Parameter(help="Folder of the classifier.")],
    input: Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV or JSON lines.")],
    /,
    *,
    out: OutputTable,
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a table's columns and the prediction of each title to Parquet, for tables of any size.

    Adds the column `prediction` and a column `probability_CLASS` for each class.

    Example: `vitrina classify predict classifier catalogue.parquet --out scores.parquet`
    """
    from vitrina.classification.classifier import TitleClassifier
    from vitrina.classification.predict import predict_file

    model = TitleClassifier.load(classifier)
    rows = predict_file(model, input, out, title_column=title_column, force=force, quiet=quiet)
    console(stderr=True, quiet=quiet).print(f"{rows:,} predictions: {out}")

"""The commands `vitrina classify ...` for classes and `vitrina regress ...` for numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from vitrina.cli.app import (
    COLUMNS,
    EncoderFolder,
    Force,
    OutputTable,
    Quiet,
    TitleColumn,
    app,
    titles_of,
)
from vitrina.errors import InputError, shown
from vitrina.progress import console, counted

if TYPE_CHECKING:
    import polars as pl

    from vitrina.classification.classifier import TitleClassifier
    from vitrina.classification.regressor import TitleRegressor

classify = App(name="classify", help="Classify titles with a frozen encoder and few labels.")
regress = App(
    name="regress", help="Predict numbers, such as sizes, from titles with a frozen encoder."
)
app.command(classify)
app.command(regress)

ClassifierFolder = Annotated[Path, Parameter(help="Folder of the classifier.")]
RegressorFolder = Annotated[Path, Parameter(help="Folder of the regressor.")]
TitlesTable = Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV or JSON lines.")]
Titles = Annotated[str, Parameter(help="Titles; put `--` before one that begins with a dash.")]
InputTable = Annotated[
    str | None,
    Parameter(group=COLUMNS, help="Table of titles, in place of TITLES: Parquet, CSV, ..."),
]


@classify.command(name="fit")
def fit_classifier(
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
    from vitrina.classification.classifier import KIND, TitleClassifier
    from vitrina.classification.predict import fit_file
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.files import refuse_existing

    refuse_existing(out, force, KIND)
    model = TitleClassifier(TitleEncoder.load(encoder))
    fitted, score, counts = fit_file(
        model, labels, label_column=label, title_column=title_column, quiet=quiet
    )
    fitted.save(out, force=force)
    console().print(score)
    notes = console(stderr=True, quiet=quiet)
    notes.print(f"labels: {counted(counts)}\nclassifier: {out}")
    titles = titles_of(title_column)
    notes.print(f"next: vitrina classify predict {out} {titles} --out scores.parquet")


@regress.command(name="fit")
def fit_regressor(
    encoder: EncoderFolder,
    labels: Annotated[str, Parameter(help="Table with titles and a column of numbers.")],
    /,
    *,
    label: Annotated[str, Parameter(help="Column of the numbers.")],
    out: Annotated[Path, Parameter(help="Folder that the regressor is written to.")],
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit a regressor on titles with numbers and show its cross-validated score.

    Example: `vitrina regress fit encoder parcels.csv --label length_cm --out regressor`
    """
    from vitrina.classification.predict import fit_file
    from vitrina.classification.regressor import KIND, TitleRegressor
    from vitrina.encoder.title_encoder import TitleEncoder
    from vitrina.files import refuse_existing

    refuse_existing(out, force, KIND)
    model = TitleRegressor(TitleEncoder.load(encoder))
    fitted, score, counts = fit_file(
        model, labels, label_column=label, title_column=title_column, quiet=quiet
    )
    fitted.save(out, force=force)
    console().print(score)
    notes = console(stderr=True, quiet=quiet)
    notes.print(f"numbers: {counted(counts)}\nregressor: {out}")
    titles = titles_of(title_column)
    notes.print(f"next: vitrina regress predict {out} {titles} --out numbers.parquet")


@classify.command(name="predict")
def predict_classes(
    classifier: ClassifierFolder,
    input: TitlesTable,
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


@regress.command(name="predict")
def predict_numbers(
    regressor: RegressorFolder,
    input: TitlesTable,
    /,
    *,
    out: OutputTable,
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a table's columns and the number of each title to Parquet, for tables of any size.

    Adds the column `prediction`.

    Example: `vitrina regress predict regressor catalogue.parquet --out sizes.parquet`
    """
    from vitrina.classification.predict import predict_file
    from vitrina.classification.regressor import TitleRegressor

    model = TitleRegressor.load(regressor)
    rows = predict_file(model, input, out, title_column=title_column, force=force, quiet=quiet)
    console(stderr=True, quiet=quiet).print(f"{rows:,} predictions: {out}")


@classify.command(name="explain")
def explain_classes(
    classifier: ClassifierFolder,
    /,
    *titles: Titles,
    input: InputTable = None,
    title_column: TitleColumn = "title",
) -> None:
    """Show which words of each title speak for its class, in log-odds.

    A word counts through the TF-IDF features of its text (`by words`) and through the vector of the
    title (`by vector`: its share of the lexical part, and how much the log-odds fall if the
    contextual part is computed without it). The last rows are what the vector says beyond single
    words, the intercept, and the sum.

    Example: `vitrina classify explain classifier "iPhone 11 usado, detalle en pantalla"`
    """
    from vitrina.classification.classifier import TitleClassifier

    _show_explanations(TitleClassifier.load(classifier), titles, input, title_column)


@regress.command(name="explain")
def explain_numbers(
    regressor: RegressorFolder,
    /,
    *titles: Titles,
    input: InputTable = None,
    title_column: TitleColumn = "title",
) -> None:
    """Show how much each word of a title adds to its predicted number.

    A word counts through the TF-IDF features of its text (`by words`) and through the vector of the
    title (`by vector`: its share of the lexical part, and how much the number falls if the
    contextual part is computed without it). The last rows are what the vector says beyond single
    words, the intercept, and the sum, which is the prediction.

    Example: `vitrina regress explain regressor "mesa plegable 180 cm"`
    """
    from vitrina.classification.regressor import TitleRegressor

    _show_explanations(TitleRegressor.load(regressor), titles, input, title_column)


def _show_explanations(
    model: TitleClassifier | TitleRegressor,
    titles: tuple[str, ...],
    input: str | None,
    title_column: str,
) -> None:
    if bool(titles) == (input is not None):
        raise InputError("give either `titles` or `input`, a table of titles")
    for batch in _batches(titles, input, title_column):
        for _, of_title in model.explain(batch).group_by("row", maintain_order=True):
            _show_explanation(of_title)


def _batches(
    titles: tuple[str, ...], input: str | None, title_column: str
) -> Iterator[list[str | None]]:
    """The titles, few at a time, so that the first are shown soon and little memory is used."""
    from vitrina.data.stream import title_batches

    if input is None:
        yield list(titles)
        return
    for batch in title_batches(input, title_column):
        for part in batch[title_column].to_frame().iter_slices(256):
            yield part.to_series().to_list()


def _show_explanation(parts: pl.DataFrame) -> None:
    """Print the parts of one title's score as a table, the words with the largest sums first."""
    import polars as pl

    title, prediction = parts.row(0, named=True)["title"], parts["prediction"][0]
    label = f"{prediction:.6g}" if isinstance(prediction, float) else str(prediction)
    table = Table("word", "by words", "by vector", "sum", title=Text(shown(f"{title}: {label}")))
    words = parts.drop_nulls("word").with_columns(
        by_words=pl.when(part="words").then("contribution"),
        by_vector=pl.when(pl.col("part") != "words").then("contribution"),
    )
    sums = words.group_by("word", maintain_order=True).agg(
        pl.col("by_words", "by_vector").sum(), total=pl.col("contribution").sum()
    )
    for word, *numbers in sums.sort("total", descending=True, maintain_order=True).iter_rows():
        table.add_row(Text(shown(word)), *(f"{number:+.3g}" for number in numbers))
    table.add_section()
    for part, label in (("rest", "(beyond single words)"), ("intercept", "(intercept)")):
        number = parts.filter(part=part)["contribution"].item()
        table.add_row(label, "", "", f"{number:+.3g}")
    table.add_row("(all)", "", "", f"{parts['contribution'].sum():+.3g}")
    console().print(table)

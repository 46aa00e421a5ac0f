"""The commands for encoders and vectors: `vitrina embed`, `similar` and `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from vitrina.cli.app import EncoderFolder, Force, OutputTable, Quiet, Threads, TitleColumn, app
from vitrina.errors import shown
from vitrina.progress import console


@app.command
def embed(
    encoder: EncoderFolder,
    input: Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV or JSON lines.")],
    /,
    *,
    out: OutputTable,
    title_column: TitleColumn = "title",
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a table's columns and the vector of each title to Parquet, for tables of any size.

    Example: `vitrina embed encoder catalogue.parquet --out vectors.parquet`
    """
    from vitrina.encoder.embed import embed_file
    from vitrina.encoder.title_encoder import TitleEncoder

    model = TitleEncoder.load(encoder)
    model.threads = threads
    rows = embed_file(model, input, out, title_column=title_column, force=force, quiet=quiet)
    console(stderr=True, quiet=quiet).print(f"{rows:,} vectors: {out}")


@app.command
def similar(
    encoder: EncoderFolder,
    products: Annotated[str, Parameter(help="Table of products with titles.")],
    title: Annotated[str, Parameter(help="Title to compare with.")],
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"], help="Number of products to show.")] = 10,
    title_column: TitleColumn = "title",
) -> None:
    """Show the products whose titles are most similar to a title.

    Example: `vitrina similar encoder catalogue.parquet "zapatillas running mujer" -k 5`

    Put `--` before a title that begins with a dash.
    """
    from vitrina.encoder.embed import most_similar
    from vitrina.encoder.title_encoder import TitleEncoder

    model = TitleEncoder.load(encoder)
    found = most_similar(model, products, title, k=k, title_column=title_column)
    table = Table("similarity", "title")
    for row in found.iter_rows(named=True):
        # `Text` shows brackets in titles as they are
        table.add_row(f"{row['similarity']:.3f}", Text(row[title_column]))
    console().print(table)


@app.command
def inspect(
    folder: Annotated[Path, Parameter(help="Folder of an encoder or classifier.")], /
) -> None:
    """Check a saved encoder or classifier and show what it is and how it was trained.

    Example: `vitrina inspect encoder`
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from vitrina.classification.classifier import KIND, TitleClassifier
    from vitrina.encoder.weights import EncoderWeights
    from vitrina.sealed import kind_of

    if kind_of(folder) == KIND:
        classifier = TitleClassifier.load(folder)
        names = shown(", ".join(map(str, classifier.classes_.tolist())), 2_000)
        console().print(f"classifier of: {names}")
        weights = classifier.encoder.weights
    else:
        weights = EncoderWeights.load(folder)
    console().print("checked: complete and undamaged\n")
    Console().print(Markdown(weights.model_card()))

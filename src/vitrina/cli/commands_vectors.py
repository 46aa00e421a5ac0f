"""The commands for encoders and vectors: `vitrina embed` and `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

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
def inspect(
    folder: Annotated[Path, Parameter(help="Folder of an encoder, classifier or index.")], /
) -> None:
    """Check a saved encoder, classifier or index and show what it is and how it was made.

    Example: `vitrina inspect encoder`
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from vitrina.classification.classifier import KIND, TitleClassifier
    from vitrina.cli.commands_search import description
    from vitrina.encoder.golden import compare_golden
    from vitrina.encoder.weights import ENCODER, EncoderWeights
    from vitrina.sealed import SealedFolder, kind_of
    from vitrina.search.index import TitleIndex
    from vitrina.search.index_folder import INDEX

    kind = kind_of(folder)
    if kind == INDEX.name:
        index = TitleIndex.load(folder)
        console().print(f"{description(index)}\nencoder: {index.encoder_digest}")
        console().print("checked: complete and undamaged")
        return
    if kind == KIND:
        classifier = TitleClassifier.load(folder)
        names = shown(", ".join(map(str, classifier.classes_.tolist())), 2_000)
        console().print(f"classifier of: {names}")
        weights = classifier.encoder.weights
        folder = folder / "encoder"
    else:
        weights = EncoderWeights.load(folder)
    console().print("checked: complete and undamaged")
    console().print(f"{compare_golden(SealedFolder(folder, ENCODER), weights)}\n")
    Console().print(Markdown(weights.model_card()))

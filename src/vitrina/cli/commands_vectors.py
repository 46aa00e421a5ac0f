"""The commands for encoders and vectors: `vitrina embed`, `refresh` and `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vitrina.cli.app import (
    COLUMNS,
    EncoderFolder,
    Force,
    OutputTable,
    Quiet,
    Threads,
    TitleColumn,
    app,
)
from vitrina.progress import console, counted


@app.command
def embed(
    encoder: EncoderFolder,
    input: Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV or JSON lines.")],
    /,
    *,
    out: OutputTable,
    title_column: TitleColumn = "title",
    key_column: Annotated[
        str | None,
        Parameter(
            name="--key",
            group=COLUMNS,
            help="Column that identifies a row; `vitrina refresh` needs it.",
        ),
    ] = None,
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a table's columns and the vector of each title to Parquet, for tables of any size.

    Example: `vitrina embed encoder catalogue.parquet --key product_id --out vectors.parquet`
    """
    from vitrina.encoder.embed import embed_file
    from vitrina.encoder.title_encoder import TitleEncoder

    model = TitleEncoder.load(encoder)
    model.threads = threads
    rows = embed_file(
        model,
        input,
        out,
        title_column=title_column,
        key_column=key_column,
        force=force,
        quiet=quiet,
    )
    console(stderr=True, quiet=quiet).print(f"{rows:,} vectors: {out}")


@app.command
def refresh(
    encoder: EncoderFolder,
    catalogue: Annotated[str, Parameter(help="Table with titles: Parquet, CSV, TSV, JSON lines.")],
    /,
    *,
    vectors: Annotated[
        Path, Parameter(help="File that `vitrina embed --key` wrote; it is replaced when done.")
    ],
    changes: Annotated[
        Path | None,
        Parameter(help="Parquet file to write: the vectors to upsert and the keys to delete."),
    ] = None,
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Bring a file of vectors up to date with its catalogue: encode new and changed titles only.

    The file is then what `vitrina embed` would write anew, byte for byte.

    Example: `vitrina refresh encoder catalogue.parquet --vectors vectors.parquet
    --changes changes.parquet`
    """
    from vitrina.encoder.refresh import refresh_file
    from vitrina.encoder.title_encoder import TitleEncoder

    model = TitleEncoder.load(encoder)
    model.threads = threads
    counts = refresh_file(model, catalogue, vectors, changes=changes, force=force, quiet=quiet)
    notes = console(stderr=True, quiet=quiet)
    notes.print(f"vectors: {counted(counts)}\nrefreshed: {vectors}")
    if changes is not None:
        notes.print(f"changes: {changes}")


@app.command
def inspect(
    path: Annotated[
        Path,
        Parameter(
            help="An encoder, classifier, regressor or index, or a file of vectors or labels."
        ),
    ],
    /,
) -> None:
    """Check an output of vitrina, and show what it is and which encoder it belongs to.

    Example: `vitrina inspect encoder`
    """
    from vitrina.cli.inspection import inspected

    inspected(path)

"""A training run from tables: read the catalogue, build the sessions, train the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from vitrina.data.catalogue import Catalogue, CatalogueColumns, read_catalogue
from vitrina.data.sessions import UNUSABLE, EventColumns, Sessions, parse_gap, sessionize
from vitrina.data.tables import Source, require_columns, scan
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.pretraining.run_folder import RunFolder, check_output
from vitrina.pretraining.settings import Settings
from vitrina.progress import console, counted

# Sessions from a column have no times; all rows get the same one.
_ANY_TIME = datetime(2000, 1, 1)


def train_from_tables(
    events: Source | None,
    products: Source,
    out: str | Path,
    settings: Settings | None = None,
    *,
    gap: str | timedelta | int = "30m",
    group_column: str | None = None,
    max_products: int = 10,
    time_unit: str | None = None,
    event_columns: EventColumns | None = None,
    catalogue_columns: CatalogueColumns | None = None,
    inputs: Mapping[str, Any] | None = None,
    threads: int | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
    tensorboard: str | Path | None = None,
) -> TitleEncoder:
    """Train a title encoder on tables of visits and products, and save it to a folder.

    Does what the command `vitrina train` does: it reads the catalogue, groups the visits into
    sessions, prints what it counted to stderr, and trains. To work with the catalogue or the
    sessions in between, call `read_catalogue`, `sessionize` and `train` instead.

    Parameters
    ----------
    events : str, path, sequence of these, DataFrame or LazyFrame; or None
        The visits: a file, a glob, several of them, or a polars frame. None with `group_column`.
    products : str, path, sequence of these, DataFrame or LazyFrame
        The catalogue: titles and categories of the products.
    out : str or path
        Folder that the encoder is written to.
    settings : Settings, optional
        Settings of the training; ``preset("default")`` if not given.
    gap : str, timedelta or int, default "30m"
        A session ends when its user makes no visit for longer than this; see
        `vitrina.data.sessions.parse_gap`. A number is in minutes.
    group_column : str, optional
        Column of `products` that stands in for visits, such as a search, a list or a seller. Rows
        that share a value, in the order of the table, form sessions of `max_products`.
    max_products : int, default 10
        Products kept of each session; at least 2.
    time_unit : {"s", "ms", "us", "ns"}, optional
        What numbers in the time column count since 1970. By default their median tells it.
    event_columns : EventColumns, optional
        Names of the columns of `events`.
    catalogue_columns : CatalogueColumns, optional
        Names of the columns of `products`.
    inputs : mapping of str to Any, optional
        Record of the input that is saved with the encoder. A resumed run must be given the same
        record. By default it holds the files, the gap, `max_products`, `time_unit` and the names
        of the columns. It says only that a polars frame was given, not what the frame contains.
    threads : int, optional
        Number of threads; all processors by default. A resumed run keeps its own number.
    device : {"auto", "cpu", "cuda"}, default "auto"
        Device to train on.
    resume : bool, default False
        Whether to continue a run that was stopped. If its data was already prepared, `events` and
        `products` are not read again.
    force : bool, default False
        Whether to replace an encoder that exists at `out`.
    quiet : bool, default False
        Whether to show warnings only.
    tensorboard : str or path, optional
        Folder to which the log is also written for TensorBoard.

    Returns
    -------
    TitleEncoder
        The trained encoder, as saved to `out`.

    Raises
    ------
    InputError
        If the tables cannot be read or trained on, if `out` exists, or if there is no run to
        resume. `out` and `gap` are checked before anything is read.
    MissingExtraError
        If torch is not installed.
    Interrupted
        After Ctrl-C, once the run is saved.

    Examples
    --------
    A public data set brings its own gap, language and names of columns:

    >>> from vitrina import load_public_dataset, preset, train_from_tables
    >>> data = load_public_dataset("completejourney")
    >>> encoder = train_from_tables(  # doctest: +SKIP
    ...     data.events,
    ...     data.products,
    ...     "encoder",
    ...     preset("default", language=data.language),
    ...     gap=data.gap,
    ...     event_columns=data.columns,
    ... )
    """
    settings = settings or Settings()
    catalogue_columns = catalogue_columns or CatalogueColumns()
    if (events is None) == (group_column is None):
        raise InputError("give either `events` or a `group_column` of the `products`")
    if group_column is not None or event_columns is None:
        event_columns = EventColumns()
    check_output(out, resume=resume, force=force)
    parse_gap(gap)
    # The import loads torch. It follows the checks above, so that a mistake is reported at once,
    # and precedes the reading, so that a missing torch is reported before minutes of work.
    from vitrina.pretraining.teacher import require_teacher
    from vitrina.pretraining.train import train

    if not (resume and RunFolder.of(out).prepared):
        require_teacher(settings)
    if settings.preset == "paper" and settings.language is None:
        console(stderr=True, quiet=quiet).print("no language given: no stop words are removed")
    if inputs is None:
        inputs = {
            "events": None if events is None else _names(events),
            "products": _names(products),
            "group_column": group_column,
            "gap": str(gap),
            "max_products": max_products,
            "time_unit": time_unit,
            "event_columns": list(asdict(event_columns).values()),
            "catalogue_columns": list(asdict(catalogue_columns).values()),
        }
    catalogue = sessions = None
    if not (resume and RunFolder.of(out).prepared):
        catalogue = _read_catalogue(products, catalogue_columns, quiet)
        if group_column is not None:
            events = _grouped(products, catalogue_columns.product, group_column, max_products)
        assert events is not None
        sessions = sessionize(
            events,
            gap,
            max_products,
            columns=event_columns,
            product_ids=catalogue.product_ids,
            time_unit=time_unit,
        )
        if group_column is None:
            console(stderr=True, quiet=quiet).print(f"times: {sessions.time_note}")
        _show_counts(sessions, max_products, quiet)
    return train(
        catalogue,
        sessions,
        out,
        settings,
        threads=threads,
        device=device,
        resume=resume,
        force=force,
        quiet=quiet,
        tensorboard=tensorboard,
        inputs=inputs,
    )


def _read_catalogue(products: Source, columns: CatalogueColumns, quiet: bool) -> Catalogue:
    """Read the catalogue and print its counts."""
    catalogue = read_catalogue(products, columns)
    console(stderr=True, quiet=quiet).print(f"catalogue: {counted(catalogue.counts)}")
    return catalogue


def _grouped(products: Source, product: str, group: str, max_products: int) -> pl.LazyFrame:
    """Events in which the rows of each group, `max_products` at a time, are visits of one user."""
    frame = scan(products, "catalogue")
    require_columns(frame, {"group": group, "product": product}, products)
    part = pl.int_range(pl.len()).over(group) // max_products
    return frame.filter(pl.col(group).is_not_null()).select(
        user=pl.concat_str(pl.col(group).cast(pl.String), part.cast(pl.String), separator="\0"),
        timestamp=pl.lit(_ANY_TIME),
        product_id=pl.col(product),
    )


def _show_counts(sessions: Sessions, max_products: int, quiet: bool) -> None:
    """Print the counts of the sessions, and warn of lost visits."""
    console(stderr=True, quiet=quiet).print(f"sessions: {counted(sessions.counts)}")
    unusable = {reason: sessions.counts[reason] for reason in UNUSABLE if sessions.counts[reason]}
    if unusable:
        # Shown even when quiet: it may mean that the wrong column was named.
        console(stderr=True).print(f"warning: events that can't be used: {counted(unusable)}")
    if sessions.truncated_share > 0.5:
        console(stderr=True).print(
            f"warning: sessions keep only their first {max_products} products, so "
            f"{sessions.truncated_share:.0%} of the visits are dropped. Products of so long a "
            "session have little to do with each other: check the gap that ends a session, and "
            "that a user is one person. `max_products` (max_session_products on the command line) "
            "sets the limit"
        )


def _names(source: Source) -> list[str] | str:
    """The files of a table for the record of the inputs."""
    if isinstance(source, pl.LazyFrame | pl.DataFrame):
        return "a polars frame"
    if isinstance(source, str | Path):
        return [str(source)]
    return [str(file) for file in source]

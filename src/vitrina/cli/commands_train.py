"""The commands that train: `vitrina train` and `vitrina demo`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from vitrina.cli.app import COLUMNS, RUN, Force, Quiet, Threads, TitleColumn, app, titles_of
from vitrina.errors import InputError
from vitrina.progress import console

if TYPE_CHECKING:
    from vitrina.data.sources import Dataset
    from vitrina.pretraining.settings import Settings

# The options of `train` are many, so they stand in four groups. Annotations are evaluated only when
# the command is parsed: `_source_help()` and `_baselines_help()` import modules that load slowly.


@dataclass(frozen=True)
class TrainInput:
    """Options of `train`: the data and how it becomes sessions."""

    events: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True, help="Visits: Parquet, CSV, TSV or JSON lines; files or globs."
        ),
    ] = None
    products: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="Catalogue: titles and categories of the products."),
    ] = None
    source: Annotated[str | None, Parameter(help=_source_help())] = None
    source_dir: Annotated[Path | None, Parameter(help="Folder with the files of --source.")] = None
    group_column: Annotated[
        str | None,
        Parameter(
            help="Column of --products in place of --events, such as a search or a list: rows that "
            "share a value are sessions."
        ),
    ] = None
    gap: Annotated[
        str | None,
        Parameter(help="A session ends when its user makes no visit for longer than this [30m]."),
    ] = None
    max_session_products: Annotated[int, Parameter(help="Products kept of each session.")] = 10
    time_unit: Annotated[
        Literal["s", "ms", "us", "ns"] | None,
        Parameter(help="What numbers in the time column count since 1970; else their size tells."),
    ] = None

    def check(self) -> None:
        """Raise InputError unless either tables or a public data set are given."""
        given = [part for part in (self.source, self.events, self.group_column) if part is not None]
        if len(given) != 1:
            raise InputError(
                "train: give your own `events` and `products`, or `products` with a "
                "`group_column`, or a `source`"
            )
        if (self.source is None) != (self.products is not None):
            raise InputError(
                "train: `products` (the catalogue) goes with `events` or a `group_column`, without "
                "`source`"
            )
        if self.source_dir is not None and self.source is None:
            raise InputError(
                "train: `source_dir` is the folder with the files of a `source`; name the `source`"
            )

    def record(self, gap: str, columns: TrainColumns) -> dict[str, Any]:
        """The input as it is saved with the encoder; a resumed run must be given the same."""
        return {
            "source": self.source,
            "source_dir": self.source_dir,
            "events": self.events,
            "products": self.products,
            "group_column": self.group_column,
            "gap": gap,
            "max_session_products": self.max_session_products,
            "time_unit": self.time_unit,
            "columns": list(asdict(columns).values()),
        }


@dataclass(frozen=True)
class TrainColumns:
    """Options of `train`: the names of the columns."""

    user_column: Annotated[str, Parameter(group=COLUMNS, help="Column of the users.")] = "user"
    time_column: Annotated[
        str, Parameter(group=COLUMNS, help="Column of the times of the visits.")
    ] = "timestamp"
    product_column: Annotated[
        str, Parameter(group=COLUMNS, help="Column of the products, in both tables.")
    ] = "product_id"
    title_column: TitleColumn = "title"
    category_column: Annotated[str, Parameter(group=COLUMNS, help="Column of the categories.")] = (
        "category"
    )


@dataclass(frozen=True)
class TrainRecipe:
    """Options of `train`: its settings."""

    language: Annotated[
        str | None,
        Parameter(
            help="Language of the titles (es, en, pt, ...); only --preset paper removes its stop "
            "words."
        ),
    ] = None
    alpha: Annotated[
        float | None,
        Parameter(
            help="Weight of the loss on pairs, from 0 to 1; the category loss gets the rest [0.5]."
        ),
    ] = None
    preset: Annotated[
        Literal["default", "paper"], Parameter(help="Settings: vitrina's own or the paper's.")
    ] = "default"
    epochs: Annotated[
        int | None,
        Parameter(help="Passes over all pairs [1, or up to 8 if the data is small]."),
    ] = None
    lexical_dim: Annotated[
        int | None,
        Parameter(
            help="Dimensions of the vector's lexical part, a sum over the words; 0 for none [512]."
        ),
    ] = None
    max_minutes: Annotated[
        float | None,
        Parameter(help="Time limit in minutes; the schedules are planned to end within it."),
    ] = None
    teacher: Annotated[
        str | None,
        Parameter(
            help="Sentence transformer, a folder or a name on the Hugging Face hub, whose vectors "
            "the encoder learns to predict too."
        ),
    ] = None
    teacher_minutes: Annotated[
        float | None,
        Parameter(help="Time in which the teacher may compute its vectors, in minutes [8]."),
    ] = None
    seed: Annotated[
        int, Parameter(group=RUN, help="Random seed for initialisation, batching and sampling.")
    ] = 0

    def settings(self, dataset: Dataset | None) -> Settings:
        """The settings; a public data set gives its language if none is set."""
        from vitrina.pretraining import settings as training

        changes = {name: value for name, value in asdict(self).items() if value is not None}
        preset = changes.pop("preset")
        if dataset is not None:
            changes.setdefault("language", dataset.language)
        return training.preset(preset, **changes)


@dataclass(frozen=True)
class TrainRun:
    """Options of `train`: how it runs. They are named as in `train_from_tables`."""

    threads: Threads = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Parameter(group=RUN, help="Device to train on.")
    ] = "auto"
    resume: Annotated[bool, Parameter(group=RUN, help="Continue a run that was stopped.")] = False
    force: Force = False
    quiet: Quiet = False
    tensorboard: Annotated[
        Path | None, Parameter(group=RUN, help="Folder for a TensorBoard log.")
    ] = None


def _source_help() -> str:
    from vitrina.data.sources import SOURCES

    return f"A public data set in its published layout, instead of --events: {', '.join(SOURCES)}."


_FLAT = Parameter(name="*")  # the options of a group have no prefix
_NO_INPUT = TrainInput()
_DEFAULT_RECIPE = TrainRecipe()
_DEFAULT_RUN = TrainRun()
_DEFAULT_COLUMNS = TrainColumns()


@app.command
def train(
    *,
    out: Annotated[Path, Parameter(help="Folder that the encoder is written to.")],
    data: Annotated[TrainInput, _FLAT] = _NO_INPUT,
    recipe: Annotated[TrainRecipe, _FLAT] = _DEFAULT_RECIPE,
    run: Annotated[TrainRun, _FLAT] = _DEFAULT_RUN,
    columns: Annotated[TrainColumns, _FLAT] = _DEFAULT_COLUMNS,
) -> None:
    """Train a title encoder on browsing sessions.

    Example: `vitrina train --events visits.parquet --products catalogue.csv --out encoder`
    """
    from vitrina.data.catalogue import CatalogueColumns
    from vitrina.data.sessions import EventColumns
    from vitrina.data.sources import load_public_dataset
    from vitrina.pretraining.from_tables import train_from_tables

    data.check()
    notes = console(stderr=True, quiet=run.quiet)
    dataset = None
    gap = data.gap
    tables: dict[str, Any]
    if data.source is None:
        tables = {
            "events": data.events,
            "products": data.products,
            "group_column": data.group_column,
            "event_columns": EventColumns(
                columns.user_column, columns.time_column, columns.product_column
            ),
            "catalogue_columns": CatalogueColumns(
                columns.product_column, columns.title_column, columns.category_column
            ),
        }
        gap = "30m" if gap is None else gap
    else:
        dataset = load_public_dataset(data.source, data.source_dir)
        notes.print(f"source: {dataset.note}")
        tables = {
            "events": dataset.events,
            "products": dataset.products,
            "event_columns": dataset.columns,
        }
        gap = dataset.gap if gap is None else gap

    encoder = train_from_tables(
        **tables,
        out=out,
        settings=recipe.settings(dataset),
        gap=gap,
        max_products=data.max_session_products,
        time_unit=data.time_unit,
        inputs=data.record(gap, columns),
        **asdict(run),
    )
    minutes = encoder.weights.training["minutes"]
    notes.print(f"encoder: {out}, after {minutes:g} minutes")
    titles = titles_of(columns.title_column)
    notes.print(f"next: vitrina embed {out} {titles} --out vectors.parquet")


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for all results.")] = Path("demo"),
    minutes: Annotated[
        float | None, Parameter(help="Time limit of the training in minutes [3].")
    ] = None,
    seed: Annotated[
        int, Parameter(group=RUN, help="Random seed for the split, training and subsamples.")
    ] = 0,
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Train, embed and evaluate on real shopping baskets (The Complete Journey), in minutes.

    Example: `vitrina demo --out demo`
    """
    from vitrina.demo.run import run_demo

    run_demo(out, force=force, quiet=quiet, minutes=minutes, seed=seed, threads=threads)

"""The command line: commands that call the library's public functions."""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.validators import Number
from rich.table import Table
from rich.text import Text

from vitrina._version import __version__
from vitrina.errors import InputError, shown
from vitrina.progress import console, counted

# Each command imports what it needs when it runs, so that help, versions and mistakes are fast.
if TYPE_CHECKING:
    from vitrina.data.sources import Dataset
    from vitrina.pretraining.settings import Settings

_Number = TypeVar("_Number", int, float)

app = App(
    name="vitrina",
    help="Product embeddings from browsing sessions: train one title encoder, use it everywhere.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # `main` prints what was saved and how to continue
)
classify = App(name="classify", help="Classify titles with a frozen encoder and few labels.")
app.command(classify)

_COLUMNS = Group("Columns of your tables", sort_key=2)
_RUN = Group("The run", sort_key=3)

EncoderFolder = Annotated[Path, Parameter(help="Folder of the encoder.")]
Force = Annotated[bool, Parameter(group=_RUN, help="Replace existing output.")]
OutputTable = Annotated[Path, Parameter(help="Parquet file to write.")]
Quiet = Annotated[bool, Parameter(group=_RUN, help="Show results and warnings only.")]
Threads = Annotated[
    int | None,
    Parameter(
        group=_RUN, help="Number of threads; all processors by default.", validator=Number(gte=1)
    ),
]
TitleColumn = Annotated[str, Parameter(group=_COLUMNS, help="Column of the titles.")]


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
        if (self.source is None) == (self.events is None):
            raise InputError("train: give your own `events` and `products`, or a `source`")
        if (self.events is None) != (self.products is None):
            raise InputError(
                "train: `events` and `products` (the catalogue) go together, without `source`"
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
            "gap": gap,
            "max_session_products": self.max_session_products,
            "time_unit": self.time_unit,
            "columns": list(asdict(columns).values()),
        }


@dataclass(frozen=True)
class TrainColumns:
    """Options of `train`: the names of the columns."""

    user_column: Annotated[str, Parameter(group=_COLUMNS, help="Column of the users.")] = "user"
    time_column: Annotated[
        str, Parameter(group=_COLUMNS, help="Column of the times of the visits.")
    ] = "timestamp"
    product_column: Annotated[
        str, Parameter(group=_COLUMNS, help="Column of the products, in both tables.")
    ] = "product_id"
    title_column: TitleColumn = "title"
    category_column: Annotated[str, Parameter(group=_COLUMNS, help="Column of the categories.")] = (
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
    epochs: Annotated[int | None, Parameter(help="Passes over all pairs.")] = None
    max_minutes: Annotated[
        float | None,
        Parameter(help="Time limit in minutes; the schedules are planned to end within it."),
    ] = None
    seed: Annotated[
        int, Parameter(group=_RUN, help="Random seed for initialisation, batching and sampling.")
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
        Literal["auto", "cpu", "cuda"], Parameter(group=_RUN, help="Device to train on.")
    ] = "auto"
    resume: Annotated[bool, Parameter(group=_RUN, help="Continue a run that was stopped.")] = False
    force: Force = False
    quiet: Quiet = False
    tensorboard: Annotated[
        Path | None, Parameter(group=_RUN, help="Folder for a TensorBoard log.")
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
    notes.print(f"next: vitrina embed {out} TITLES --out vectors.parquet")


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


def _baselines_help() -> str:
    from vitrina.evaluation.models.registry import describe_baselines

    return (
        "Baselines to compare. By default all that need no MODEL and whose packages are installed. "
        "MODEL is a folder or a name on the hub. Brackets change the numbers of a baseline: "
        f"text-cnn[seeds=1].\n\n{describe_baselines()}"
    )


@app.command
def evaluate(
    tasks: Annotated[Path, Parameter(help="TOML file that describes the tasks and sessions.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for the report, the results and the cache.")],
    encoder: Annotated[
        list[Path] | None,
        Parameter(help="Folder of a saved encoder; may be given several times."),
    ] = None,
    baselines: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help=_baselines_help())
    ] = None,
    sizes: Annotated[
        str | None,
        Parameter(help="Numbers of labels, separated by commas [the paper's, 100 to 100000]."),
    ] = None,
    subsamples: Annotated[
        int | None,
        Parameter(help="Random subsamples of each size [5].", validator=Number(gte=1)),
    ] = None,
    alphas: Annotated[
        str | None,
        Parameter(
            help="Values of α, separated by commas: pre-trains an encoder by BYOL with each and "
            "compares them (the paper's figure 2)."
        ),
    ] = None,
    quick: Annotated[bool, Parameter(help="Quick smoke test: small data, few steps.")] = False,
    resume: Annotated[
        bool,
        Parameter(group=_RUN, help="Continue in a folder that holds a run, keeping its results."),
    ] = False,
    seed: Annotated[
        int, Parameter(group=_RUN, help="Random seed for splits, subsamples and models.")
    ] = 0,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Compare encoders and baselines on your tasks, and write a report.

    Example: `vitrina evaluate tasks.toml --encoder encoder --out evaluation`
    """
    from vitrina.evaluation.evaluate import evaluate as run_evaluation

    run_evaluation(
        tasks,
        out,
        encoders=encoder or (),
        baselines=baselines,
        sizes=_numbers("sizes", sizes, int),
        subsamples=subsamples,
        alphas=_numbers("alphas", alphas, float) or (),
        quick=quick,
        resume=resume,
        seed=seed,
        threads=threads,
        quiet=quiet,
    )
    console().print(f"report: {out / 'report.html'}")


def _numbers(name: str, text: str | None, kind: type[_Number]) -> list[_Number] | None:
    """The numbers of an option whose values are separated by commas."""
    if text is None:
        return None
    try:
        return [kind(part.replace("_", "")) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"`{name}`: '{text}' is not a list of numbers; separate numbers by commas"
        ) from None


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


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for all results.")] = Path("demo"),
    minutes: Annotated[
        float | None, Parameter(help="Time limit of the training in minutes [3].")
    ] = None,
    seed: Annotated[
        int, Parameter(group=_RUN, help="Random seed for the split, training and subsamples.")
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


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 when done, 1 when interrupted, 2 for a user's mistake.

    Parameters
    ----------
    arguments : list of str, optional
        The command and its options; those of the process if not given.
    """
    # SIGTERM is treated as Ctrl-C, so that nothing half-written is left
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_exit_code(sys.argv[1:] if arguments is None else arguments))


def _exit_code(arguments: list[str]) -> int:
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _say(error, 2)
    except InputError as error:
        return _say(_name_options(str(error), arguments), 2)
    except KeyboardInterrupt as error:
        message = str(error) or "interrupted"
        return _say(_name_options(message, arguments), 1)
    except BrokenPipeError:
        return 1  # the program that reads our output has ended
    except OSError as error:
        if error.strerror is None:
            raise
        return _say(f"{error.filename or 'output'}: {error.strerror.lower()}", 2)
    return 0


def _say(message: object, code: int) -> int:
    line = " ".join(str(message).split())
    sys.stderr.write(f"vitrina: {line}\n")
    return code


# Parameters of the library that a command's options or arguments call by another name.
_RENAMED = {
    "max_products": ["max_session_products"],
    "path": ["source_dir"],
    "source": ["input", "products", "labels"],
    "query": ["title"],
    "label_column": ["label"],
    "encoders": ["encoder"],
    "tasks_file": ["tasks"],
    "max_minutes": ["minutes"],
}


def _name_options(message: str, arguments: list[str]) -> str:
    """Replace the backquoted parameters in a library's message by the command's options.

    Backquotes around any other name are removed.
    """
    _, apps, _ = app.parse_commands(arguments)
    names = {}
    for argument in apps[-1].assemble_argument_collection():
        names[argument.field_info.name] = argument.names[0]

    def option(match: re.Match[str]) -> str:
        name = match[1]
        for candidate in [name, *_RENAMED.get(name, [])]:
            if candidate in names:
                return names[candidate]
        return name

    return re.sub(r"`(\w+)`", option, message)


if __name__ == "__main__":
    main()

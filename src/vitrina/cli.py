"""The command line: a thin face over the library's public functions."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.validators import Number
from rich.table import Table
from rich.text import Text

from vitrina._version import __version__
from vitrina.errors import InputError
from vitrina.progress import console, counted

_Number = TypeVar("_Number", int, float)

# Heavy imports are inside the commands: help, versions and mistakes answer at once.

app = App(
    name="vitrina",
    help="Product embeddings from browsing sessions: train one title encoder, use it everywhere.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # main says what was saved, and how to go on
)
classify = App(name="classify", help="Classify titles with a frozen encoder and few labels.")
app.command(classify)

_COLUMNS = Group("Columns of your tables", sort_key=2)
_RUN = Group("The run", sort_key=3)

TitleColumn = Annotated[str, Parameter(group=_COLUMNS, help="Column of the titles.")]
Force = Annotated[bool, Parameter(group=_RUN, help="Replace what lies at the output path.")]
Quiet = Annotated[bool, Parameter(group=_RUN, help="Show results and warnings only.")]
Threads = Annotated[
    int | None,
    Parameter(group=_RUN, help="Threads; all processors by default.", validator=Number(gte=1)),
]


@app.command
def train(
    *,
    out: Annotated[Path, Parameter(help="Folder that the encoder is written to.")],
    events: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True, help="Visits: Parquet, CSV or JSON lines; files or globs."
        ),
    ] = None,
    products: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="The catalogue: titles and categories."),
    ] = None,
    source: Annotated[
        Literal["completejourney", "open-ecommerce", "meli2020", "instacart", "amazon-m2"] | None,
        Parameter(help="A public data set in its published layout, instead of --events."),
    ] = None,
    source_dir: Annotated[Path | None, Parameter(help="Folder with the files of --source.")] = None,
    gap: Annotated[
        str | None, Parameter(help="A longer pause between two visits ends a session [30m].")
    ] = None,
    max_session_products: Annotated[int, Parameter(help="Products kept of a session.")] = 10,
    language: Annotated[
        str | None,
        Parameter(help="Of the titles: es, en, pt, ...; its stop words go with --preset paper."),
    ] = None,
    alpha: Annotated[
        float | None,
        Parameter(help="Weight of the pairs' losses; the rest goes to the category loss [0.5]."),
    ] = None,
    preset: Annotated[
        Literal["default", "paper"], Parameter(help="The recipe: ours, or the paper's.")
    ] = "default",
    epochs: Annotated[int | None, Parameter(help="Passes over all pairs.")] = None,
    max_minutes: Annotated[
        float | None, Parameter(help="End within this time; the schedules are planned for it.")
    ] = None,
    seed: Annotated[int, Parameter(group=_RUN, help="Of weights, batches and sampling.")] = 0,
    threads: Threads = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(group=_RUN)] = "auto",
    resume: Annotated[
        bool, Parameter(group=_RUN, help="Go on with a run that was stopped.")
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
    tensorboard: Annotated[
        Path | None, Parameter(group=_RUN, help="Also log for TensorBoard, into this folder.")
    ] = None,
    user_column: Annotated[str, Parameter(group=_COLUMNS)] = "user",
    time_column: Annotated[str, Parameter(group=_COLUMNS)] = "timestamp",
    product_column: Annotated[str, Parameter(group=_COLUMNS)] = "product_id",
    title_column: TitleColumn = "title",
    category_column: Annotated[str, Parameter(group=_COLUMNS)] = "category",
) -> None:
    """Learn a title encoder from browsing sessions.

    Example: `vitrina train --events visits.parquet --products catalogue.csv --out encoder`
    """
    from vitrina.data.catalogue import CatalogueColumns, read_catalogue
    from vitrina.data.sessions import UNUSABLE, EventColumns, parse_gap, sessionize
    from vitrina.data.sources import load_public_dataset
    from vitrina.data.tables import Source
    from vitrina.pretraining import settings as training
    from vitrina.pretraining.run_folder import RunFolder, check_output
    from vitrina.pretraining.train import train as run_training

    if (source is None) == (events is None):
        raise InputError("train: give your own --events and --products, or a --source")
    if (events is None) != (products is None):
        raise InputError("train: --events and --products (the catalogue) go together, no --source")
    if source_dir is not None and source is None:
        raise InputError(
            "train: --source-dir is where a --source's files lie; give a --source with it"
        )
    check_output(out, resume=resume, force=force)
    notes = console(stderr=True, quiet=quiet)

    dataset = load_public_dataset(source, source_dir) if source else None
    if gap is None:
        gap = dataset.gap if dataset else "30m"
    parse_gap(gap)  # before minutes of reading
    changes = {"alpha": alpha, "epochs": epochs, "max_minutes": max_minutes}
    settings = training.preset(
        preset,
        language=language or (dataset.language if dataset else None),
        seed=seed,
        **{name: value for name, value in changes.items() if value is not None},
    )
    if preset == "paper" and settings.language is None:
        notes.print("no --language: no stop words are removed")
    catalogue_columns = CatalogueColumns(product_column, title_column, category_column)
    event_columns = EventColumns(user_column, time_column, product_column)
    inputs = {
        "source": source,
        "source_dir": source_dir,
        "events": events,
        "products": products,
        "gap": gap,
        "max_session_products": max_session_products,
        "columns": [*asdict(event_columns).values(), title_column, category_column],
    }
    catalogue = sessions = None
    if not (resume and RunFolder.of(out).prepared):
        if dataset:
            catalogue = read_catalogue(dataset.products)
            visits: Source = dataset.events
            event_columns = dataset.columns
            notes.print(f"source: {dataset.note}")
        else:
            assert events is not None
            assert products is not None
            catalogue = read_catalogue(products, catalogue_columns)
            visits = events
        notes.print(f"catalogue: {counted(catalogue.counts)}")
        sessions = sessionize(
            visits,
            gap,
            max_session_products,
            columns=event_columns,
            product_ids=catalogue.product_ids,
        )
        notes.print(f"sessions: {counted(sessions.counts)}")
        lost = {name: sessions.counts[name] for name in UNUSABLE if sessions.counts[name]}
        if lost:
            console(stderr=True).print(f"warning: events that can't be used: {counted(lost)}")
    encoder = run_training(
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
    minutes = encoder.weights.training["minutes"]
    notes.print(f"encoder: {out}, after {minutes:g} minutes")
    notes.print(f"next: vitrina embed {out} TITLES --out vectors.parquet")


@app.command
def embed(
    encoder: Annotated[Path, Parameter(help="The encoder's folder.")],
    input: Annotated[str, Parameter(help="Table with titles: Parquet, CSV or JSON lines.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Parquet file to write.")],
    title_column: TitleColumn = "title",
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a table's columns and the vector of each title to Parquet; streams any size.

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
    encoder: Annotated[Path, Parameter(help="The encoder's folder.")],
    products: Annotated[str, Parameter(help="Table of products with titles.")],
    title: Annotated[str, Parameter(help="What to look for.")],
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"], help="How many.")] = 10,
    title_column: TitleColumn = "title",
) -> None:
    """Show the products whose titles are most like a title.

    Example: `vitrina similar encoder catalogue.parquet "zapatillas running mujer" -k 5`

    A title that begins with a dash goes behind `--`.
    """
    from vitrina.encoder.embed import most_similar
    from vitrina.encoder.title_encoder import TitleEncoder

    model = TitleEncoder.load(encoder)
    found = most_similar(model, products, title, k=k, title_column=title_column)
    table = Table("similarity", "title")
    for row in found.iter_rows(named=True):
        table.add_row(f"{row['similarity']:.3f}", Text(row[title_column]))
    console().print(table)


@classify.command
def fit(
    encoder: Annotated[Path, Parameter(help="The encoder's folder.")],
    labels: Annotated[str, Parameter(help="Table with titles and a label column.")],
    /,
    *,
    label: Annotated[str, Parameter(help="Column of the labels.")],
    out: Annotated[Path, Parameter(help="Folder to write the classifier to.")],
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit a classifier on labelled titles; shows its cross-validated score.

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
    classifier: Annotated[Path, Parameter(help="The classifier's folder.")],
    input: Annotated[str, Parameter(help="Table with titles.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Parquet file to write.")],
    title_column: TitleColumn = "title",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a table's columns and its titles' predictions to Parquet; streams any size.

    Adds `prediction` and, for each class, its probability: `probability_CLASS`.

    Example: `vitrina classify predict classifier catalogue.parquet --out scores.parquet`
    """
    from vitrina.classification.classifier import TitleClassifier
    from vitrina.classification.predict import predict_file

    model = TitleClassifier.load(classifier)
    rows = predict_file(model, input, out, title_column=title_column, force=force, quiet=quiet)
    console(stderr=True, quiet=quiet).print(f"{rows:,} predictions: {out}")


@app.command
def evaluate(
    tasks: Annotated[Path, Parameter(help="TOML file that names tasks and sessions.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for report, results and cache.")],
    encoder: Annotated[
        list[Path] | None, Parameter(help="A saved encoder; may be given several times.")
    ] = None,
    baselines: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            help="encoder, random, simclr, bag-of-words, tf-idf, fasttext, fasttext-autotune, "
            "text-cnn, prod2vec, meta-prod2vec, transformer[:MODEL], transformer-mean[:MODEL], "
            "model2vec:MODEL, setfit:MODEL; MODEL is a folder or a name on the hub. Their numbers "
            "in brackets: text-cnn[seeds=1]. By default all that need no MODEL and are installed.",
        ),
    ] = None,
    sizes: Annotated[
        str | None, Parameter(help="Numbers of labels, with commas [the paper's, 100 to 100000].")
    ] = None,
    subsamples: Annotated[
        int | None, Parameter(help="Random subsamples of each size [5].", validator=Number(gte=1))
    ] = None,
    alphas: Annotated[
        str | None,
        Parameter(help="Figure 2: pre-train by BYOL with each of these α, with commas."),
    ] = None,
    quick: Annotated[bool, Parameter(help="A small version, to see that all works.")] = False,
    resume: Annotated[
        bool, Parameter(group=_RUN, help="Go on in a folder that holds a run, keeping its cells.")
    ] = False,
    seed: Annotated[int, Parameter(group=_RUN, help="Of splits, subsamples and models.")] = 0,
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
        sizes=_numbers("--sizes", sizes, int),
        subsamples=subsamples,
        alphas=_numbers("--alphas", alphas, float) or (),
        quick=quick,
        resume=resume,
        seed=seed,
        threads=threads,
        quiet=quiet,
    )
    console().print(f"report: {out / 'report.html'}")


def _numbers(option: str, text: str | None, kind: type[_Number]) -> list[_Number] | None:
    try:
        return None if text is None else [kind(part.replace("_", "")) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option}: '{text}' should be numbers with commas between them") from None


@app.command
def inspect(folder: Annotated[Path, Parameter(help="An encoder or classifier.")], /) -> None:
    """Check a saved encoder or classifier and show what it is and how it was trained.

    Example: `vitrina inspect encoder`
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from vitrina.classification.classifier import KIND, TitleClassifier
    from vitrina.encoder.weights import EncoderWeights
    from vitrina.files import kind_of

    if kind_of(folder) == KIND:
        classifier = TitleClassifier.load(folder)
        console().print(f"classifier of: {', '.join(map(str, classifier.classes_.tolist()))}")
        weights = classifier.encoder.weights
    else:
        weights = EncoderWeights.load(folder)
    console().print("checked: whole and undamaged\n")
    Console().print(Markdown(weights.model_card()))


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for all results.")] = Path("demo"),
    minutes: Annotated[float | None, Parameter(help="Of training, at most.")] = None,
    seed: Annotated[int, Parameter(group=_RUN)] = 0,
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
    """Run a command; exit 0 when done, 1 when interrupted or broken, 2 for a user's mistake."""
    # asked to terminate: leave as with Ctrl-C, so that nothing half-written stays
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_exit_code(sys.argv[1:] if arguments is None else arguments))


def _exit_code(arguments: list[str]) -> int:
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (InputError, CycloptsError) as error:
        return _say(error, 2)
    except KeyboardInterrupt as error:
        return _say(error if error.args else "interrupted", 1)
    except BrokenPipeError:
        return 1  # the reader of our output has gone
    except OSError as error:
        if error.strerror is None:
            raise
        return _say(f"{error.filename or 'output'}: {error.strerror.lower()}", 2)
    return 0


def _say(error: object, code: int) -> int:
    line = " ".join(str(error).split())
    sys.stderr.write(f"vitrina: {line}\n")
    return code


if __name__ == "__main__":
    main()

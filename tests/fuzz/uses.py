"""What must hold for a case: each function uses what is at a path, and checks its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vitrina import TitleClassifier, TitleEncoder, TitleIndex, embed_file
from vitrina.data.sessions import sessionize
from vitrina.encoder.golden import compare_golden
from vitrina.encoder.weights import ENCODER
from vitrina.evaluation.task_file import read_tasks
from vitrina.labelling.label_file import COLUMNS, LabelFile
from vitrina.sealed import SealedFolder
from vitrina.text.tokenizer import TitleTokenizer

from .folders import SAVED

TITLES = ["Botella de 1,5 L para NIÑOS", "", None, "a " * 50, "taza te cafe silla mesa lampara"]

LONGEST_MESSAGE = 1_000


def check_message(message: str, path: Path) -> None:
    """A message is one line that can be printed, and not too long."""
    message = message.replace(str(path), "PATH")
    assert message.isprintable(), repr(message[:500])
    assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} letters"


def use_encoder(path: Path) -> None:
    """Load an encoder twice, encode with both tables, check its golden vectors, describe it."""
    first = TitleEncoder.load(path)
    vectors = first.transform(TITLES)
    assert vectors.shape == (len(TITLES), first.weights.width)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (vectors[:, : first.weights.contextual_dim] >= 0).all()
    if first.weights.lexical_dim:
        assert (np.linalg.norm(vectors, axis=1) < 1.001).all()
    again = TitleEncoder.load(path).transform(TITLES)
    assert again.tobytes() == vectors.tobytes(), "two loads give other bits"
    assert np.isfinite(TitleEncoder(first.weights, table="float32").transform(TITLES)).all()
    card = first.weights.model_card()
    assert all(line.isprintable() for line in card.split("\n")), "a card with control characters"
    assert len(card) < 1_000_000, f"a card of {len(card)} letters"
    found = compare_golden(SealedFolder(path, ENCODER), first.weights)
    assert found.isprintable()
    assert len(found) < LONGEST_MESSAGE
    first.weights.save(path.with_name("saved"), force=True)  # what loads can be saved, and loads
    TitleEncoder.load(path.with_name("saved"))


def use_classifier(path: Path) -> None:
    """Load a classifier twice and classify."""
    first = TitleClassifier.load(path)
    probabilities = first.predict_proba(TITLES)
    assert probabilities.shape == (len(TITLES), len(first.classes_))
    assert len(set(first.classes_.tolist())) == len(first.classes_)
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    first.predict(TITLES)
    again = TitleClassifier.load(path).predict_proba(TITLES)
    assert again.tobytes() == probabilities.tobytes(), "two loads give other bits"
    first.save(path.with_name("saved"), force=True)
    TitleClassifier.load(path.with_name("saved"))


def use_index(path: Path) -> None:
    """Load an index twice, query it in all ways, change it and save it."""
    encoder = TitleEncoder.load(SAVED / "encoder-2")
    vectors = encoder.encode([*TITLES, "FROZEN FRENCH FRIES 2 LB"])
    found = _all_queries(TitleIndex.load(path), vectors)
    again = _all_queries(TitleIndex.load(path), vectors)
    assert again.equals(found), "two loads find others"
    index = TitleIndex.load(path, encoder)
    before = len(index)
    products = index._rows[index.product_column]
    product = 7 if products.dtype.is_integer() else "7"
    new = index._rows.clear(1).with_columns(
        pl.lit(product, products.dtype).alias(index.product_column),
        pl.lit("frozen french fries 2 lb").alias(index.title_column),
    )
    index.upsert(new)
    assert len(index) == before + (product not in products)
    index.delete(products.filter(products != product).head(3))
    _all_queries(index, vectors)
    found = index.query("french fries", 5, {index.product_column: product})
    assert found[index.title_column].to_list() == ["frozen french fries 2 lb"]
    index.save(path.with_name("saved"), force=True)
    assert len(TitleIndex.load(path.with_name("saved"), encoder)) == len(index)


def _all_queries(index: TitleIndex, vectors: Any) -> pl.DataFrame:
    """The results of several queries, which must be real products and similarities."""
    parts = [index.query(vectors, k) for k in (1, 5, 1_000)]
    for name in index.columns:
        value = index._rows[name].head(1).to_list()
        parts.append(index.query(vectors, 5, {name: value[0] if value else None}))
    found = pl.concat(parts)
    similarity = found["similarity"]
    assert similarity.is_finite().all()
    assert similarity.is_between(-1, 1).all()
    assert found[index.product_column].is_in(index._rows[index.product_column].implode()).all()
    return found


def use_labels(path: Path) -> None:
    """Read a label file, add a label, replace it, and remove it."""
    (source,) = path.iterdir()
    file = LabelFile(source, "0" * 64)
    before = file.read()
    assert before.columns[:4] == list(COLUMNS)
    assert before["title"].null_count() == 0
    assert (before["label"] != "").all()
    file.add("a new title", "food", "random")
    file.add("a new title", None, "random")
    after = file.read()
    assert after["title"].to_list().count("a new title") == 1
    assert after["label"][-1] is None
    assert file.remove("a new title")
    left = file.read()
    others = before.filter(pl.col("title") != "a new title")
    assert left.select(COLUMNS).equals(others.select(COLUMNS)), "other labels were changed"


def use_titles(path: Path) -> None:
    """Any title has one vector, alone and in a batch, in any order and with any memory."""
    titles = json.loads(path.read_bytes())
    encoder = TitleEncoder.load(SAVED / "encoder-1")
    together = encoder.transform(titles)
    assert np.isfinite(together).all()
    fresh = TitleEncoder.load(SAVED / "encoder-1")
    for row, title in reversed(list(enumerate(titles))):
        alone = fresh.transform([title])[0]
        assert alone.tobytes() == together[row].tobytes(), f"row {row}: {title[:200]!r}"
    normalizer = encoder.weights.tokenizer.normalizer
    forms = normalizer(titles)
    assert normalizer(forms) == forms, "a normal form changes"


def use_tasks(path: Path) -> None:
    """Read tasks from a TOML file."""
    tasks, _ = read_tasks(path / "tasks.toml")
    for task in tasks:
        assert len(task.test)


def use_table(path: Path) -> None:
    """Embed the titles of a table into a file."""
    (table,) = path.iterdir()
    out = path / "out.parquet"
    rows = embed_file(TitleEncoder.load(SAVED / "encoder-1"), table, out, quiet=True)
    vectors = pl.read_parquet(out)["vector"].to_numpy()
    assert vectors.shape == (rows, 16)
    assert np.isfinite(vectors).all()


def use_times(path: Path) -> None:
    """Group the visits of a table into sessions."""
    (table,) = path.iterdir()
    sessions = sessionize(table, product_ids=None)
    lengths = sessions.products.lengths
    assert (lengths >= 2).all()
    assert (lengths <= 10).all()
    again = sessionize(table).products
    assert again.values.tolist() == sessions.products.values.tolist()


def use_model(path: Path) -> None:
    """Use a tokenizer, also without the folder around it."""
    use_encoder(path)
    weights = TitleEncoder.load(path).weights
    pieces = TitleTokenizer(weights.tokenizer.model, weights.tokenizer.normalizer)(TITLES)
    assert (pieces.values >= 0).all()
    assert (pieces.values < len(weights.embeddings)).all()

"""The demo's own parts on the real data it runs on; the whole demo takes minutes and runs apart."""

import numpy as np
import polars as pl
import pytest

from vitrina.data.catalogue import read_catalogue
from vitrina.data.sources import load_public_dataset
from vitrina.demo.run import nearest, product_table, run_demo, tasks
from vitrina.errors import InputError


@pytest.fixture(scope="module")
def products():
    table = product_table(read_catalogue(load_public_dataset("completejourney").products))
    return table.with_columns(test=pl.int_range(pl.len()) % 5 == 0)


def test_labels_are_what_they_are_said_to_be(products):
    source = load_public_dataset("completejourney")
    events = source.events.collect()
    private, repeat = tasks(products)
    rng = np.random.default_rng(0)
    for row in rng.choice(len(products), 20, replace=False):
        bought = events.filter(pl.col("product_id") == products["product_id"][int(row)])
        per_household = len(bought) / max(bought["user"].n_unique(), 1)
        assert repeat.labels[row] == (per_household >= 1.5)
        assert (row in repeat.train or row in repeat.test) == (len(bought) > 0)
        assert private.labels[row] == (products["brand"][int(row)] == "Private")
    assert len(private.train) + len(private.test) == len(products)
    for task in (private, repeat):
        assert products["test"].gather(task.test).all()
        assert not products["test"].gather(task.train).any()


def test_neighbours_are_the_nearest_of_other_types(products):
    rng = np.random.default_rng(1)
    by_title = {title: rng.standard_normal(8) for title in products["title"].unique().sort()}
    vectors = np.array([by_title[title] for title in products["title"]], np.float32)
    found = nearest(products, vectors, queries=2, k=3)
    assert len(found) == 6
    types = dict(products.select("title", "type").iter_rows())
    bought = products.drop_nulls(["type", "department", "purchases"])
    for title, part in found.group_by("title"):
        query, best = by_title[title[0]], {}
        for other, kind in bought.select("title", "type").unique().iter_rows():
            vector = by_title[other]
            cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
            best[kind] = max(best.get(kind, -1), cosine)
        del best[types[title[0]]]
        np.testing.assert_allclose(part["cosine"], sorted(best.values())[-3:][::-1], atol=1e-5)


def test_only_a_demo_is_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists already"):
        run_demo(tmp_path)
    with pytest.raises(InputError, match="vitrina didn't write"):
        run_demo(tmp_path, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"

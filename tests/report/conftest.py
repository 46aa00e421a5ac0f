"""A page's parser, and comparisons made up for reports."""

from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest


class Balanced(HTMLParser):
    """Fails on a tag that isn't closed in its order; collects tags, references and texts."""

    void = ("meta", "br", "link", "img")

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.references, self.ids, self.texts = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            self.ids += [value] if name == "id" else []
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.references.append(value)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


@pytest.fixture(scope="session")
def parse():
    return Balanced


@pytest.fixture(scope="session")
def make_cells():
    """Cells of models that get better with labels, each from its own level at 100 labels."""

    def make(tasks, levels, sizes=(100, 1000), samples=2, part="test", noise=0.01):
        rng = np.random.default_rng(0)
        rows = []
        for t, (task, split, kind) in enumerate(tasks):
            metric = "r2" if kind == "regression" else "auc"
            for m, (model, level) in enumerate(levels.items()):
                for size in sizes:
                    for sample in range(samples):
                        missing = (1 - level - t / 100) * (size / 100) ** -(0.1 + m / 50)
                        value = 1 - missing + noise * rng.standard_normal()
                        boot = (value + noise * rng.standard_normal(200)).tolist()
                        figures = [value if metric == name else None for name in ("auc", "r2")]
                        figures.append(value - 0.1 if kind == "multiclass" else None)
                        figures.append(10 - value if kind == "regression" else None)
                        key = (task, split, kind, part, model, size, sample, metric)
                        times = (0.1, 0.01, 1000, model != "fasttext")
                        rows.append((*key, value, boot, *figures, *times))
        columns = (
            "task split kind part model size sample metric value bootstrap auc r2 accuracy mae"
        )
        columns = [*columns.split(), "fit_seconds", "score_seconds", "bytes", "repeatable"]
        nullable = dict.fromkeys(("auc", "r2", "accuracy", "mae"), pl.Float64)
        return pl.DataFrame(rows, columns, schema_overrides=nullable, orient="row")

    return make

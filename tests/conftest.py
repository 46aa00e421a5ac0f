"""Fixtures that many tests share."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vitrina.data.sources import completejourney_tables
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.text.normalize import Normalizer
from vitrina.text.tokenizer import TitleTokenizer

SHARED = Path(__file__).parents[2] / "shared" / "data"
WORDS = ["new", "used", "apple", "phone", "milk", "shoe", "red", "blue", "lamp", "kit"]
PARTS = ["64", "gb", "1", "l", "##s", "##er"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not SHARED.exists():
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="the development data sets are absent"))


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session")
def grocery_titles() -> list[str]:
    """A few thousand real titles, from the package of The Complete Journey."""
    products = pl.read_parquet(completejourney_tables() / "products.parquet")
    title = pl.concat_str("product_type", "package_size", separator=" ", ignore_nulls=True)
    return (
        products.select(title.alias("title"))["title"].drop_nulls().unique().sort().to_list()[::4]
    )


@pytest.fixture(scope="session")
def tokenizer(grocery_titles: list[str]) -> TitleTokenizer:
    return TitleTokenizer.train(grocery_titles, Normalizer("en"), vocab_size=500)


@pytest.fixture(scope="session")
def encoder(tokenizer: TitleTokenizer) -> TitleEncoder:
    """A small untrained encoder: 16 filters of each width, vectors of length 64."""
    return TitleEncoder(initial_weights(tokenizer, dim=32, filters=16))


@pytest.fixture(scope="session")
def lexical_encoder(encoder: TitleEncoder, grocery_titles: list[str]) -> TitleEncoder:
    """The same encoder with a lexical part of 24 dimensions."""
    plain = encoder.weights
    tokenizer = plain.tokenizer.with_word_vectors(grocery_titles, 24)
    return TitleEncoder(EncoderWeights(plain.embeddings, plain.filters, plain.bias, tokenizer))


@pytest.fixture(scope="session")
def small_sizes() -> dict[str, int]:
    """Settings of networks that train in a second."""
    return {
        "vocab_size": 300,
        "dim": 16,
        "filters": 4,
        "lexical_dim": 8,
        "hidden": 24,
        "projection": 8,
    }


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained BERT of two layers and its WordPiece vocabulary."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *PARTS,
        *"abcdefghijklmnopqrst",
    ]
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    tokenizer = transformers.BertTokenizer({piece: i for i, piece in enumerate(vocabulary)})
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=80,
        initializer_range=0.5,  # large, so that words differ clearly without training
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Balanced(HTMLParser):
    """Parse HTML and fail if tags are not properly nested; collects tags, links, ids and texts."""

    void = ("meta", "br", "link", "img", "input")

    def __init__(self, html):
        super().__init__()
        self.open: list[str] = []
        self.tags = []
        self.references = []
        self.ids = []
        self.texts = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
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
        if data.strip():
            self.texts.append(data.strip())


@pytest.fixture(scope="session")
def parse():
    return Balanced


@pytest.fixture(scope="session")
def make_cells():
    """Make results of models that improve with labels, from a given level at 100 labels."""

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
        names = "task split kind part model size sample metric value bootstrap auc r2 accuracy mae"
        columns = [*names.split(), "fit_seconds", "score_seconds", "bytes", "repeatable"]
        nullable = dict.fromkeys(("auc", "r2", "accuracy", "mae"), pl.Float64)
        return pl.DataFrame(rows, columns, schema_overrides=nullable, orient="row")

    return make

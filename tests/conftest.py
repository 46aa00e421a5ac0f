"""Small real things that many tests need."""

from pathlib import Path

import polars as pl
import pytest

from vitrina.data.sources import completejourney_tables
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.encoder.weights import initial_weights
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
    return TitleTokenizer.train(grocery_titles, Normalizer("en"), pieces=500)


@pytest.fixture(scope="session")
def encoder(tokenizer: TitleTokenizer) -> TitleEncoder:
    """A small encoder that was never trained: 16 filters of each width, 64 numbers a title."""
    return TitleEncoder(initial_weights(tokenizer, dim=32, filters=16))


@pytest.fixture(scope="session")
def small_sizes() -> dict[str, int]:
    """Sizes of networks that train in a second."""
    return {"pieces": 300, "dim": 16, "filters": 4, "hidden": 24, "projection": 8}


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of BERT, never trained, and a WordPiece vocabulary."""
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
        initializer_range=0.5,  # so that words differ clearly without training
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

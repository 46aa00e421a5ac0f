"""Pre-trained models: the vectors their own code gives title by title, and errors of one line."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrina.errors import InputError
from vitrina.evaluation.models.stored_vectors import LinearOnVectors
from vitrina.evaluation.models.transformer import StaticEmbedding, Transformer, model_label
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.task import Task

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROUNDING = 0.03
"""Vectors have numbers around 1, and some processors round factors to bfloat16."""
TITLES = [
    "New red phones 64 GB",
    "used",
    "",
    "milk 1 l",
    "blue lamp kit " * 30,
    "Apple",
    "öñ unknown",
    "shoe",
]


@pytest.fixture
def copy(tiny_bert, tmp_path):
    return shutil.copytree(tiny_bert, tmp_path / "copy")


def one_by_one(folder, titles, pooling, max_length=64):
    """transformers' own way, a title at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for title in titles:
        tokens = tokenizer(title, return_tensors="pt", truncation=True, max_length=max_length)
        with torch.no_grad():
            last = model(**tokens).last_hidden_state[0]
        found.append((last[0] if pooling == "cls" else last.mean(0)).numpy())
    return np.stack(found)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_the_models_own(tiny_bert, pooling):
    model = Transformer(name="t", source=str(tiny_bert), pooling=pooling)
    encode, size = model.open()
    vectors = model.pooled(encode(TITLES))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, one_by_one(tiny_bert, TITLES, pooling), atol=ROUNDING)
    assert abs(size - (tiny_bert / "model.safetensors").stat().st_size) < 10_000


def test_a_prefix_and_a_length(tiny_bert):
    source = str(tiny_bert)
    model = Transformer(name="t", source=source, pooling="mean", prefix="query: ", max_length=9)
    encode, _ = model.open()
    texts = [f"query: {title}" for title in TITLES]
    expected = one_by_one(tiny_bert, texts, "mean", max_length=9)
    np.testing.assert_allclose(model.pooled(encode(TITLES)), expected, atol=ROUNDING)


def test_a_title_has_one_vector_in_any_company(tiny_bert, grocery_titles):
    encode, _ = Transformer(name="t", source=str(tiny_bert), pooling="mean").open()
    titles = grocery_titles[:150]
    vectors = encode(titles)
    order = np.random.default_rng(0).permutation(len(titles))
    shuffled = np.empty_like(vectors)
    for rows in np.array_split(order, 7):
        shuffled[rows] = encode([titles[row] for row in rows])
    np.testing.assert_allclose(shuffled, vectors, atol=ROUNDING)


def test_prepared_and_fitted_like_any_vectors(tiny_bert, tmp_path, grocery_titles):
    titles = grocery_titles[:120]
    labels = np.array(["OZ" in title for title in titles])
    parts: dict[str, Any] = {**split_titles(titles)}
    task = Task("ounces", "binary", titles, labels, **parts)
    model = Transformer(name="t", source=str(tiny_bert), pooling="mean", folder=tmp_path)
    assert model.prepare([task], quiet=True)["titles_per_second"] > 0
    scores = model.fit(task, task.train, 0).predict_scores(task.test)
    vectors = one_by_one(tiny_bert, titles, "mean")
    plain = LinearOnVectors(name="plain", vectors=vectors).fit(task, task.train, 0)
    np.testing.assert_allclose(scores, plain.predict_scores(task.test), atol=ROUNDING)
    chunks = set(tmp_path.rglob("chunk-*"))
    other = Transformer(name="t", source=str(tiny_bert), folder=tmp_path)  # [CLS], at no cost
    other.prepare([task], quiet=True)
    assert set(tmp_path.rglob("chunk-*")) == chunks
    assert other.settings() != model.settings()
    vectors = one_by_one(tiny_bert, titles, "cls")
    plain = LinearOnVectors(name="plain", vectors=vectors).fit(task, task.train, 0)
    scores = other.fit(task, task.train, 0).predict_scores(task.test)
    np.testing.assert_allclose(scores, plain.predict_scores(task.test), atol=ROUNDING)


def test_the_process_is_left_as_it_was(tiny_bert, capfd):
    def state():
        logging = transformers.utils.logging
        precision = torch.get_float32_matmul_precision()
        bars = logging.is_progress_bar_enabled()
        return dict(os.environ), precision, logging.get_verbosity(), bars

    torch.set_float32_matmul_precision("highest")
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.enable_progress_bar()
    before = state()
    encode, _ = Transformer(name="t", source=str(tiny_bert)).open()
    encode(TITLES)
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_digest_follows_what_decides_the_vectors(tiny_bert, copy, tmp_path):
    def digest(source, **changes):
        settings: dict[str, Any] = {"name": "t", "source": str(source), **changes}
        return Transformer(**settings).digest()

    assert digest(tiny_bert) == digest(copy)
    assert digest(tiny_bert) == digest(tiny_bert, name="other", folder=tmp_path)
    (copy / "README.md").write_text("A note.")
    assert digest(tiny_bert) == digest(copy)
    assert digest(tiny_bert) == digest(tiny_bert, pooling="mean")  # one pass gives both
    changed: list[dict[str, Any]] = [{"prefix": "query: "}, {"max_length": 8}]
    digests = {digest(tiny_bert), *(digest(tiny_bert, **change) for change in changed)}
    assert len(digests) == 3
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert digest(copy) not in digests


def without(folder, name):
    for path in folder.glob(name):
        path.unlink()


def with_missing_weights(folder):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / "model.safetensors")
    del arrays["encoder.layer.1.output.dense.weight"]
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: without(folder, "config.json"), "has no configuration"),
        (lambda folder: without(folder, "*.safetensors"), "has no weights"),
        (lambda folder: without(folder, "tokenizer.json"), "has no tokenizer"),
        (lambda folder: (folder / "config.json").write_text("{"), "holds no model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "holds no model"),
        (with_missing_weights, "weights are missing, such as encoder.layer.1"),
    ],
)
def test_a_folder_that_is_no_model(copy, spoil, message):
    spoil(copy)
    with pytest.raises(InputError, match=message) as raised:
        Transformer(name="t", source=str(copy)).open()
    assert str(copy) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", ["no-such-organisation-1/no-such-model-1", "./no/such/folder"])
def test_a_name_that_is_nowhere(source):
    with pytest.raises(InputError, match=r"is no folder here and can't be loaded") as raised:
        Transformer(name="t", source=source).check()
    assert source in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_of_the_hubs_cache_needs_no_hub(tiny_bert, tmp_path, monkeypatch):
    cache = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny_bert, cache / "snapshots" / "0123abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached, local = (Transformer(name="t", source=s) for s in ("someone/tiny", str(tiny_bert)))
    np.testing.assert_array_equal(cached.open()[0](TITLES), local.open()[0](TITLES))
    assert cached.settings()["source"] == "someone/tiny@0123abc"


def test_labels_say_what_ran(tiny_bert, copy, tmp_path):
    assert model_label("dccuchile/bert-base-spanish-wwm-uncased") == "bert-base-spanish-wwm-uncased"
    assert model_label(f"{tiny_bert}/") == "tiny-bert"
    plain = shutil.copytree(copy, tmp_path / "model")
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps(config | {"_name_or_path": "a/MiniLM"}))
    assert model_label(str(plain)) == "MiniLM"
    cached = tmp_path / "models--dccuchile--bert-base" / "snapshots" / "4ed9a"
    shutil.copytree(copy, cached)
    assert model_label(str(cached)) == "bert-base"


def test_static_embeddings_are_means_of_the_tokens(tiny_bert, tmp_path):
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 16))
    folder = tmp_path / "static"
    model2vec.StaticModel(table.astype(np.float32), tokenizer).save_pretrained(folder)
    encode, size = StaticEmbedding(name="s", source=str(folder)).open()
    titles = ["New red phones", "milk 1 l", "used shoe kit"]
    tokens = [tokenizer.encode(title, add_special_tokens=False).ids for title in titles]
    expected = np.stack([table[ids].mean(0) for ids in tokens])
    vectors = encode(titles)
    for rows in (vectors, expected):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert size == table.size * 4


def test_a_transformer_is_no_static_embedding(tiny_bert):
    with pytest.raises(InputError, match="holds no model") as raised:
        StaticEmbedding(name="s", source=str(tiny_bert)).open()
    assert Path(tiny_bert).name in str(raised.value)
    assert "\n" not in str(raised.value)

"""The registry of baselines: names, options, what each one needs, and the defaults."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError, MissingExtraError
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.models.builder import build, default_names
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.models.lsa import LSA
from vitrina.evaluation.models.prod2vec import MetaProd2Vec, Prod2Vec
from vitrina.evaluation.models.registry import MODELS, ModelContext, describe_baselines
from vitrina.evaluation.models.text_cnn import TextCNN
from vitrina.evaluation.models.transformer import Transformer
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task

SESSIONS_ONLY = ["encoder", "paper", "simclr", "encoder-of", "prod2vec", "meta-prod2vec"]
SESSIONS_OR_ENCODER = ["encoder-alone", "random"]
COUNTING = ["bag-of-words", "tf-idf", "tf-idf-ngrams", "lsa"]
NEITHER = [*COUNTING, "fasttext", "fasttext-autotune", "text-cnn"]
MODEL_FROM_ELSEWHERE = [
    *("transformer", "transformer-mean", "transformer-words", "transformer-mean-words"),
    *("model2vec", "model2vec-words", "setfit"),
]


@pytest.fixture
def context(tmp_path: Path) -> ModelContext:
    """Without sessions and without a saved encoder."""
    return ModelContext(tmp_path / "cache", {})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    events = {"user": [1, 1], "timestamp": [1_700_000_000] * 2, "product_id": [1, 2]}
    products = {"product_id": [1, 2], "title": ["a", "b"], "category": ["c", "c"]}
    pl.DataFrame(events).write_csv(folder / "events.csv")
    pl.DataFrame(products).write_csv(folder / "products.csv")
    return Shop("shop", (folder / "events.csv",), (folder / "products.csv",))


@pytest.fixture
def with_shop(tmp_path: Path, shop: Shop) -> ModelContext:
    return ModelContext(tmp_path / "cache", {"shop": shop})


@pytest.fixture(scope="module")
def saved(encoder: TitleEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "encoder"
    encoder.save(path)
    return path


def without(packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide packages, as if they weren't installed."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def test_the_help_lists_every_baseline_without_loading_heavy_packages() -> None:
    lines = describe_baselines().splitlines()
    assert [re.split(r"[\[:]", line.removeprefix("- "))[0] for line in lines] == list(MODELS)
    assert "- tf-idf: a linear model on TF-IDF features of words" in lines
    assert any(line.startswith("- transformer[:MODEL]: ") for line in lines)
    assert any(line.startswith("- model2vec:MODEL: ") for line in lines)
    code = (
        "import sys; import vitrina.evaluation.models.registry as registry; "
        "registry.describe_baselines(); "
        "assert not {'torch', 'sklearn', 'numba', 'numpy', 'polars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_known_and_says_what_it_needs() -> None:
    assert list(MODELS) == [
        *("encoder", "encoder-alone", "paper", "random", "simclr", "encoder-of"),
        *NEITHER,
        *("prod2vec", "meta-prod2vec"),
        *MODEL_FROM_ELSEWHERE,
    ]
    assert all(entry.name == name for name, entry in MODELS.items())
    needs = {name: entry.needs_sessions for name, entry in MODELS.items()}
    assert [name for name in needs if needs[name] == "always"] == SESSIONS_ONLY
    assert [name for name in needs if needs[name] == "without a saved encoder"] == [
        *SESSIONS_OR_ENCODER
    ]
    takes = {name: entry.takes for name, entry in MODELS.items()}
    assert [name for name in takes if "model" in takes[name]] == MODEL_FROM_ELSEWHERE
    required = [name for name in takes if takes[name] == "model"]
    assert required == ["model2vec", "model2vec-words", "setfit"]
    assert [name for name in takes if takes[name] == "sessions"] == ["encoder-of"]


def test_models_come_in_the_order_of_their_names(with_shop: ModelContext) -> None:
    models = build(with_shop, ["tf-idf", "prod2vec", "bag-of-words", "meta-prod2vec"])
    assert [type(model) for model in models] == [BagOfWords, Prod2Vec, BagOfWords, MetaProd2Vec]
    assert [model.name for model in models] == [
        *("TF-IDF", "Prod2Vec + KNN", "bag of words", "Meta-Prod2Vec + KNN")
    ]
    assert build(with_shop, []) == []


def test_encoders_are_those_of_the_context(with_shop: ModelContext, saved: Path) -> None:
    pytest.importorskip("torch")
    names = ["encoder", "encoder-alone", "paper", "random", "simclr"]
    own = [model for model in build(with_shop, names) if isinstance(model, FrozenEncoder)]
    assert [model.use_words for model in own] == [True, False, False, False, False]
    assert [model.untrained for model in own] == [False, False, False, True, False]
    assert all(model.saved is None and model.max_sessions is None for model in own)
    recipes = [model.settings() for model in own]
    assert [recipe["preset"] for recipe in recipes] == [
        *("default", "default", "paper", "default", "default")
    ]
    assert recipes[4]["objective"] == "simclr"

    given = ModelContext(with_shop.folder, with_shop.shops, saved, seed=7, quick=True)
    words, alone, untrained = build(given, ["encoder", *SESSIONS_OR_ENCODER])
    assert isinstance(alone, FrozenEncoder)
    assert isinstance(untrained, FrozenEncoder)
    assert (alone.saved, untrained.saved) == (saved, saved)
    assert (alone.untrained, untrained.untrained) == (False, True)
    # the pre-trained one follows the context's seed, unless the change says otherwise
    assert isinstance(words, FrozenEncoder)
    assert words.max_sessions == 2_000
    assert words.settings()["seed"] == 7
    assert given.encoder_model("other", seed=8).settings()["seed"] == 8


def test_quick_models_are_small(tmp_path: Path, shop: Shop) -> None:
    pytest.importorskip("torch")
    quick = ModelContext(tmp_path, {"shop": shop}, quick=True)
    cnn, prod2vec, lsa = build(quick, ["text-cnn", "prod2vec", "lsa"])
    assert isinstance(cnn, TextCNN)
    assert isinstance(prod2vec, Prod2Vec)
    assert isinstance(lsa, LSA)
    assert (cnn.seeds, cnn.epochs, prod2vec.pairs, lsa.max_titles) == (1, 3, 100_000, 2_000)


def test_which_models_learn_from_vectors_alone(tmp_path: Path, shop: Shop) -> None:
    context = ModelContext(tmp_path, {"shop": shop})
    sources = dict.fromkeys(MODELS, "some/model") | {"encoder-of": "shop"}
    models = {name: entry.factory(context, sources[name]) for name, entry in MODELS.items()}
    assert [name for name, model in models.items() if model.vectors_alone] == [
        *("encoder-alone", "paper", "random", "simclr", "encoder-of", "lsa"),
        *("prod2vec", "meta-prod2vec", "transformer", "transformer-mean", "model2vec"),
    ]


def test_options_in_brackets_change_numbers(context: ModelContext) -> None:
    pytest.importorskip("torch")
    cnn, words = build(context, ["text-cnn[seeds=2, dropout=0]", "tf-idf[max_subsamples=1]"])
    assert isinstance(cnn, TextCNN)
    assert (cnn.seeds, cnn.dropout, cnn.epochs) == (2, 0.0, 25)
    assert isinstance(cnn.dropout, float)
    assert words.max_subsamples == 1
    (unchanged,) = build(context, ["tf-idf[]"])
    assert unchanged == BagOfWords(name="TF-IDF")


def test_a_model_follows_the_colon(context: ModelContext, tiny_bert: Path) -> None:
    cls, mean = build(
        context, [f"transformer[max_length=9]:{tiny_bert}", f"transformer-mean:{tiny_bert}"]
    )
    assert isinstance(cls, Transformer)
    assert isinstance(mean, Transformer)
    assert (cls.name, cls.pooling, cls.max_length) == ("tiny-bert [CLS]", "cls", 9)
    assert (mean.name, mean.pooling, mean.source) == ("tiny-bert mean", "mean", str(tiny_bert))
    assert (cls.prefix, mean.prefix) == ("", "")
    names = [f"transformer-words:{tiny_bert}", f"transformer-mean-words:{tiny_bert}"]
    for words, alone in zip(build(context, names), (cls, mean), strict=True):
        assert isinstance(words, Transformer)
        assert words == replace(
            alone, name=f"{alone.name} + words", use_words=True, max_length=words.max_length
        )


def test_defaults_of_transformers(context: ModelContext) -> None:
    beto = MODELS["transformer"].factory(context, "")
    assert beto.name == "bert-base-spanish-wwm-uncased [CLS]"
    e5: Any = MODELS["transformer-mean"].factory(context, "intfloat/multilingual-e5-small")
    assert (e5.name, e5.prefix) == ("multilingual-e5-small mean", "query: ")
    static: Any = MODELS["model2vec-words"].factory(context, "minishlab/potion-base-8M")
    assert (static.name, static.use_words) == ("potion-base-8M + words", True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tfidf"], "'tfidf' is unknown; the names are encoder, encoder-alone, paper"),
        ([""], "'' is unknown"),
        (["tf-idf:x"], "tf-idf takes nothing after a colon; write tf-idf"),
        (["model2vec"], "model2vec needs a model; write model2vec:MODEL"),
        (["setfit:"], "setfit needs a model; write setfit:MODEL"),
        (["text-cnn[seeds"], r"'text-cnn\[seeds' should look like NAME"),
        (["text-cnn[seeds]"], "should look like NAME"),
        (["text-cnn[seeds=]"], "should look like NAME"),
        (["text-cnn[seeds=1]x"], "should look like NAME"),
        (["text-cnn[seed=1]"], "text-cnn has no option 'seed'; it has .*max_subsamples.*seeds"),
        (["tf-idf[tfidf=1]"], "tf-idf has no option 'tfidf'; it has max_subsamples$"),
        (["text-cnn[seeds=no]"], r"text-cnn\[seeds=no\] should be a whole number above 0"),
        (["text-cnn[seeds=0]"], r"text-cnn\[seeds=0\] should be a whole number above 0"),
        (["text-cnn[seeds=1.5]"], "should be a whole number above 0"),
        (["text-cnn[dropout=-1]"], r"text-cnn\[dropout=-1\] should be a number, 0 or more"),
        (["tf-idf", "bag-of-words", "tf-idf"], "TF-IDF is given twice"),
        (["tf-idf", "tf-idf[max_subsamples=1]"], "TF-IDF is given twice"),
    ],
)
def test_mistakes_in_names(context: ModelContext, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"^`baselines`: .*{message}") as raised:
        build(context, names)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [*SESSIONS_ONLY, *SESSIONS_OR_ENCODER])
def test_sessions_are_needed(context: ModelContext, saved: Path, name: str) -> None:
    message = rf"^`baselines`: {name} needs sessions; add \[sessions.NAME\] to the task file"
    with pytest.raises(InputError, match=message):
        build(context, [name])
    given = ModelContext(context.folder, {}, saved)
    if name in SESSIONS_OR_ENCODER:
        (model,) = build(given, [name])
        assert isinstance(model, FrozenEncoder)
    else:
        if name == "encoder":
            message = "the saved encoder is compared without it"
        with pytest.raises(InputError, match=message):
            build(given, [name])


def test_the_encoder_of_one_shop_serves_all_tasks(with_shop: ModelContext) -> None:
    pytest.importorskip("torch")
    (model,) = build(with_shop, ["encoder-of:shop"])
    assert isinstance(model, FrozenEncoder)
    assert (model.name, model.shop, model.use_words) == ("encoder of shop", "shop", False)
    titles = [f"title {i}" for i in range(9)]
    rows = np.arange(3)
    labels = np.arange(9) % 2 == 0
    own = Task("own", "binary", titles, labels, rows, rows + 3, rows + 6, sessions="shop")
    other = replace(own, sessions="")
    assert model.suits(other)
    (alone,) = build(with_shop, ["encoder-alone"])
    assert isinstance(alone, FrozenEncoder)
    assert not alone.suits(other)
    # the encoder is the same; it isn't trained twice
    assert model.encoder_of(other) == model.encoder_of(own) == alone.encoder_of(own)
    with pytest.raises(InputError, match=r"encoder-of:x needs sessions .* the task file has shop"):
        build(with_shop, ["encoder-of:x"])
    with pytest.raises(InputError, match="encoder-of needs a name; write encoder-of:NAME"):
        build(with_shop, ["encoder-of"])


def test_a_missing_model_is_named(context: ModelContext, tmp_path: Path) -> None:
    given = ModelContext(context.folder, {}, tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        build(given, ["random"])


def test_a_missing_package_is_named(
    with_shop: ModelContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(["fasttext", "torch"], monkeypatch)
    for name, package in (("fasttext", "fasttext"), ("encoder", "torch"), ("text-cnn", "torch")):
        with pytest.raises(MissingExtraError, match=rf"'{package}'.*'vitrina\[baselines\]'"):
            build(with_shop, [name])
    assert len(build(with_shop, ["tf-idf", "prod2vec"])) == 2


def test_defaults_are_all_that_can_run(
    context: ModelContext, with_shop: ModelContext, saved: Path
) -> None:
    for package in ("torch", "fasttext"):
        pytest.importorskip(package)
    everything = [name for name in MODELS if name not in (*MODEL_FROM_ELSEWHERE, "encoder-of")]
    assert default_names(with_shop) == (everything, [])
    assert default_names(context) == (NEITHER, [])
    # a saved encoder is compared in place of the baseline "encoder"
    given = ModelContext(context.folder, with_shop.shops, saved)
    assert default_names(given) == (everything[1:], [])
    given = ModelContext(context.folder, {}, saved)
    assert default_names(given) == ([*SESSIONS_OR_ENCODER, *NEITHER], [])


def test_defaults_without_packages(
    with_shop: ModelContext, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(["fasttext", "torch"], monkeypatch)
    names, lacking = default_names(with_shop)
    assert names == [*COUNTING, "prod2vec", "meta-prod2vec"]
    assert lacking == [
        *("encoder", "encoder-alone", "paper", "random", "simclr"),
        *("fasttext", "fasttext-autotune", "text-cnn"),
    ]
    # a saved encoder needs no torch
    names, lacking = default_names(ModelContext(with_shop.folder, {}, saved))
    assert names == ["encoder-alone", "random", *COUNTING]
    assert lacking == ["fasttext", "fasttext-autotune", "text-cnn"]

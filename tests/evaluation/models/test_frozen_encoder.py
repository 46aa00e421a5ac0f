"""The frozen encoder in a comparison: the classifier's scores, cell keys, pre-training."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from vitrina.classification.classifier import TitleClassifier
from vitrina.classification.linear import DEFAULT_PARAMS, LinearParams, stack_features
from vitrina.classification.tfidf import HashedTfidf
from vitrina.data.catalogue import Catalogue
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.weights import EncoderWeights, initial_weights
from vitrina.errors import InputError, MissingExtraError
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.shop import Shop
from vitrina.evaluation.task import Task
from vitrina.hashing import content_key
from vitrina.text.normalize import Normalizer


@pytest.fixture(scope="module")
def saved(encoder: TitleEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "encoder"
    encoder.save(path)
    return path


@pytest.fixture(scope="module")
def task(grocery_titles: list[str]) -> Task:
    titles = grocery_titles[:900]
    labels = np.array(["OZ" in title for title in titles])
    parts: dict[str, Any] = {**split_titles(titles)}
    return Task("ounces", "binary", titles, labels, **parts)


@pytest.fixture(scope="module")
def shop(grocery_titles: list[str], tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """40 products in two categories; each user visits four products of one of them."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    events = []
    for user in range(120):
        for second, product in enumerate(rng.choice(20, 4, replace=False)):
            events.append((f"u{user}", 1_700_000_000 + second, int(product) + 20 * (user % 2)))
    columns = ["user", "timestamp", "product_id"]
    pl.DataFrame(events, columns, orient="row").write_csv(folder / "events.csv")
    products = [(i, grocery_titles[25 * i], "ab"[i // 20]) for i in range(40)]
    columns = ["product_id", "title", "category"]
    pl.DataFrame(products, columns, orient="row").write_csv(folder / "products.csv")
    return Shop("shop", (folder / "events.csv",), (folder / "products.csv",), language="en")


@pytest.mark.parametrize("size", [120, 400])  # too few rows for tuning, and enough
@pytest.mark.parametrize("use_words", [False, True])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_scores_are_those_of_the_classifier(
    saved: Path, task: Task, kind: Any, use_words: bool, size: int
) -> None:
    labels = task.labels
    classes: tuple[str, ...] = ()
    if kind == "multiclass":
        labels = np.digitize([len(title) for title in task.titles], [12, 20]).astype(np.int64)
        classes = ("short", "medium", "long")
    task = replace(task, kind=kind, labels=labels, classes=classes)
    rows = task.train[:size]
    encoder = TitleEncoder.load(saved)
    classifier = TitleClassifier(encoder) if use_words else TitleClassifier(encoder, 1.0, False)
    classifier.fit(task.titles_of(rows), labels[rows])

    model = FrozenEncoder(name="ours", saved=saved, use_words=use_words)
    elsewhere = pickle.loads(pickle.dumps(model))  # cells run in other processes
    fitted = elsewhere.fit(task, rows, 0)
    expected = classifier.decision_function(task.titles_of(task.test))
    np.testing.assert_allclose(fitted.predict_scores(task.test), expected, rtol=0, atol=1e-9)
    if use_words:
        assert classifier.tfidf_ is not None
        assert fitted.settings == classifier.best_params_._asdict()
        assert (classifier.best_params_ == DEFAULT_PARAMS) == (size < 300)
        arrays: list[Any] = [classifier.coef_, classifier.intercept_, *classifier.tfidf_]
    else:
        assert fitted.settings == {}
        arrays = [classifier.coef_, classifier.intercept_]
    assert fitted.bytes == sum(array.nbytes for array in arrays)


def test_numbers_are_predicted_by_ridge_regression(
    saved: Path, encoder: TitleEncoder, task: Task
) -> None:
    lengths = np.array([float(len(title)) for title in task.titles])
    task = replace(task, kind="regression", labels=lengths)
    rows = task.train[:400]
    model = FrozenEncoder(name="ours", saved=saved)
    vectors = unit_length(encoder.encode(task.titles).astype(np.float64))
    expected = Ridge(alpha=1.0).fit(vectors[rows], lengths[rows]).predict(vectors[task.test])
    predicted = model.fit(task, rows, 0).predict_scores(task.test)
    np.testing.assert_allclose(predicted, expected, atol=1e-9)

    fitted = replace(model, use_words=True).fit(task, rows, 0)
    params = LinearParams(**fitted.settings)
    normalized = encoder.weights.tokenizer.normalizer(task.titles)
    words = HashedTfidf.fit([normalized[row] for row in rows])(normalized)
    features = stack_features(vectors, words, params.weight)
    ridge = Ridge(alpha=1 / params.C).fit(features[rows], lengths[rows])
    predicted = fitted.predict_scores(task.test)
    np.testing.assert_allclose(predicted, ridge.predict(features[task.test]), atol=1e-9)


def test_an_untrained_encoder_has_initial_weights(
    encoder: TitleEncoder, task: Task, tmp_path: Path
) -> None:
    weights = encoder.weights
    training = {"settings": {"seed": 3}, "minutes": 1.5}
    trained = EncoderWeights(
        weights.embeddings, weights.filters, weights.bias, weights.tokenizer, training
    )
    TitleEncoder(trained).save(tmp_path / "trained")
    model = FrozenEncoder(name="random", saved=tmp_path / "trained", untrained=True)
    initial = TitleEncoder(initial_weights(weights.tokenizer, seed=3))
    expected = unit_length(initial.encode(task.titles).astype(np.float64))
    np.testing.assert_array_equal(model.vectors(task), expected)
    # what was never trained is used as it is
    encoder.save(tmp_path / "untrained")
    model = replace(model, saved=tmp_path / "untrained")
    expected = unit_length(encoder.encode(task.titles).astype(np.float64))
    np.testing.assert_array_equal(model.vectors(task), expected)


def test_vectors_have_unit_length(saved: Path, encoder: TitleEncoder, task: Task) -> None:
    alone = FrozenEncoder(name="ours", saved=saved).vectors(task)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1)
    joined = FrozenEncoder(name="ours", saved=saved, use_words=True).vectors(task)
    normalized = encoder.weights.tokenizer.normalizer(task.titles)
    words = HashedTfidf.fit(normalized)(normalized)
    assert joined.shape == (len(task.titles), alone.shape[1] + words.shape[1])
    np.testing.assert_allclose(joined.multiply(joined).sum(axis=1), 1)
    # the vectors have the weight of the linear model with few labels
    features = np.hstack([DEFAULT_PARAMS.weight * alone, words.toarray()])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(joined.toarray(), features, atol=1e-12)


def test_it_suits_tasks_with_a_saved_encoder_or_sessions(
    saved: Path, shop: Shop, task: Task
) -> None:
    at_home = replace(task, sessions="shop")
    pretrained = FrozenEncoder(name="ours", shops={"shop": shop})
    assert [pretrained.suits(t) for t in (task, at_home)] == [False, True]
    given = FrozenEncoder(name="ours", saved=saved)
    assert [given.suits(t) for t in (task, at_home)] == [True, True]
    assert (pretrained.needs, pretrained.packages) == ("sessions", ("torch",))
    assert replace(pretrained, untrained=True).needs == ""
    assert (given.needs, given.packages) == ("", ())
    assert given.encoder_of(task) == saved


def test_settings_identify_the_cells(
    saved: Path, shop: Shop, encoder: TitleEncoder, tmp_path: Path
) -> None:
    def key(model: FrozenEncoder) -> str:
        return content_key(model.settings())

    pretrained = FrozenEncoder(name="ours", shops={"shop": shop})
    given = FrozenEncoder(name="ours", saved=saved)
    other = TitleEncoder(initial_weights(encoder.weights.tokenizer, dim=16, filters=4))
    other.save(tmp_path / "other")
    encoder.save(tmp_path / "copy")
    different = [
        pretrained,
        replace(pretrained, shops={"shop": replace(shop, gap="2h")}),
        replace(pretrained, changes={"seed": 1}),
        replace(pretrained, changes={"preset": "paper"}),
        replace(pretrained, changes={"alpha": 0.9}),
        replace(pretrained, untrained=True),
        replace(pretrained, use_words=True),
        replace(pretrained, max_sessions=50),
        given,
        replace(given, saved=tmp_path / "other"),
        replace(given, untrained=True),
        replace(given, use_words=True),
    ]
    assert len({key(model) for model in different}) == len(different)
    # names, folders and changes that change nothing don't count
    assert key(replace(pretrained, name="theirs", folder=tmp_path)) == key(pretrained)
    assert key(replace(pretrained, changes={"seed": 0})) == key(pretrained)
    assert key(replace(given, saved=tmp_path / "copy")) == key(given)


def without_categories(shop: Shop, folder: Path) -> Shop:
    """A copy of the shop whose catalogue has no categories."""
    products = pl.read_csv(shop.products[0]).drop("category")
    products.write_csv(folder / "products.csv")
    return replace(shop, products=(folder / "products.csv",))


def test_a_shop_without_categories_is_trained_on_pairs_alone(
    shop: Shop, task: Task, tmp_path: Path, small_sizes: dict[str, int]
) -> None:
    pytest.importorskip("torch")
    bare = without_categories(shop, tmp_path)
    at_home = replace(task, sessions="shop")
    model = FrozenEncoder(
        name="ours", folder=tmp_path, shops={"shop": bare}, changes=small_sizes, max_sessions=50
    )
    assert model.suits(at_home)
    model.prepare([at_home], quiet=True)
    training = TitleEncoder.load(model.encoder_of(at_home)).weights.training
    assert training["settings"]["alpha"] == 1
    # its α can't be studied
    study = replace(model, changes={**small_sizes, "alpha": 0.5})
    assert not study.suits(at_home)
    assert replace(study, shops={"shop": shop}).suits(at_home)


def test_seen_titles_are_known_by_the_catalogue(
    shop: Shop, task: Task, encoder: TitleEncoder, tmp_path: Path
) -> None:
    """The catalogue has every 25th of the task's titles, some of them as test titles."""
    at_home = replace(task, sessions="shop")
    titles = shop.full_catalogue().titles.to_list()
    test = set(task.titles_of(task.test))
    share = len(test & set(titles)) / len(test)
    assert 0 < share < 0.1
    pretrained = FrozenEncoder(name="ours", shops={"shop": shop})
    assert pretrained.share_seen(at_home) == pytest.approx(share)
    held_out = replace(shop, held_out=frozenset(Normalizer("en")(sorted(test))))
    assert replace(pretrained, shops={"shop": held_out}).share_seen(at_home) == 0

    # a saved encoder has the counts of its catalogue
    def with_record(name: str, catalogue: Catalogue) -> FrozenEncoder:
        weights = encoder.weights
        arrays = (weights.embeddings, weights.filters, weights.bias)
        record = {"catalogue": catalogue.counts}
        TitleEncoder(EncoderWeights(*arrays, weights.tokenizer, record)).save(tmp_path / name)
        return FrozenEncoder(name=name, saved=tmp_path / name, shops={"shop": held_out})

    whole = with_record("whole", shop.full_catalogue())
    assert whole.share_seen(task) == pytest.approx(share)
    assert with_record("earlier", held_out.catalogue()).share_seen(task) == 0
    other = with_record("other", shop.full_catalogue().without_titles(titles[:1]))
    assert other.share_seen(task) is None


def test_the_teacher_of_the_shop(shop: Shop, task: Task, tiny_bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    at_home = replace(task, sessions="shop")
    with_teacher = replace(shop, teacher=str(tiny_bert))
    model = FrozenEncoder(
        name="ours", folder=tmp_path, shops={"shop": with_teacher}, use_teacher=True
    )
    model.check()
    assert model.packages == ("torch", "sentence_transformers")
    alone = replace(model, use_teacher=False)
    assert alone.packages == ("torch",)
    assert alone.encoder_of(at_home) != model.encoder_of(at_home)
    assert alone.settings() != model.settings()
    # without a teacher, there is no difference
    without_teacher = replace(model, shops={"shop": shop})
    assert without_teacher.encoder_of(at_home) == alone.encoder_of(at_home)
    nowhere = replace(model, shops={"shop": replace(shop, teacher=str(tmp_path / "nowhere"))})
    with pytest.raises(InputError, match=r"^\[sessions.shop\]: `teacher` is '.*nowhere'"):
        nowhere.check()


def test_check_finds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        FrozenEncoder(name="ours", saved=tmp_path / "nowhere").check()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="torch"):
        FrozenEncoder(name="ours").check()


def test_prepare_measures_a_saved_encoder(saved: Path, task: Task) -> None:
    model = FrozenEncoder(name="ours", saved=saved)
    costs = model.prepare([task])
    assert list(costs) == ["pretraining_minutes", "titles_per_second", "bytes"]
    assert costs["titles_per_second"] > 0
    assert costs["bytes"] == (saved / "model.safetensors").stat().st_size
    assert "pretraining_minutes" not in replace(model, untrained=True).prepare([task])


def test_prepare_pre_trains_once_on_each_shop(
    shop: Shop, task: Task, tmp_path: Path, small_sizes: dict[str, int]
) -> None:
    pytest.importorskip("torch")
    at_home = replace(task, sessions="shop")
    model = FrozenEncoder(
        name="ours", folder=tmp_path, shops={"shop": shop}, changes=small_sizes, max_sessions=50
    )
    costs = model.prepare([at_home], quiet=True)
    path = model.encoder_of(at_home)
    assert path.parent == tmp_path / "encoders"
    training = TitleEncoder.load(path).weights.training
    assert training["settings"]["language"] == "en"
    assert training["settings"]["dim"] == small_sizes["dim"]
    assert costs["pretraining_minutes"] == training["minutes"]
    written = (path / "manifest.json").stat().st_mtime_ns
    model.prepare([at_home], quiet=True)
    assert (path / "manifest.json").stat().st_mtime_ns == written

    # another recipe, and no training, have encoders of their own
    untrained = replace(model, untrained=True)
    untrained.prepare([at_home], quiet=True)
    folders = {
        model.encoder_of(at_home),
        untrained.encoder_of(at_home),
        replace(model, changes={**small_sizes, "seed": 1}).encoder_of(at_home),
        replace(model, max_sessions=None).encoder_of(at_home),
    }
    assert len(folders) == 4
    assert TitleEncoder.load(untrained.encoder_of(at_home)).weights.training == {}
    # with words or without, the encoder is the same
    assert replace(model, use_words=True).encoder_of(at_home) == path
    scores = model.fit(at_home, at_home.train[:100], 0).predict_scores(at_home.test)
    assert np.isfinite(scores).all()

"""Vectors of titles: encoded once, found again, the same linear model as on vectors given ready."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError
from vitrina.evaluation.models import stored_vectors
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.models.stored_vectors import LinearOnVectors, StoredVectorsModel
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.task import Task


def letters(titles):
    """How often each letter occurs, and the length: an encoder that one can follow."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return np.array([[*map(title.count, alphabet), len(title)] for title in titles], np.float32)


@dataclass(frozen=True, kw_only=True)
class Letters(StoredVectorsModel):
    """Remembers what it was asked to encode, and can be stopped there."""

    encoded: ClassVar[list[str]] = []
    stop_after: ClassVar[int | None] = None

    weights: int = 1

    def open(self):
        def encode(titles):
            if self.stop_after is not None and len(self.encoded) >= self.stop_after:
                raise KeyboardInterrupt
            self.encoded.extend(titles)
            return letters(titles) * self.weights

        return encode, 4_321


@dataclass(frozen=True, kw_only=True)
class Stored(StoredVectorsModel):
    """The vectors of a saved encoder of ours, as if it were any other."""

    source: str

    def open(self):
        return TitleEncoder.load(self.source).encode, 0


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    Letters.encoded.clear()
    monkeypatch.setattr(Letters, "stop_after", None)


def task_of(titles, name="toy", kind="binary", spare=0):
    """The last `spare` rows are in no part."""
    rng = np.random.default_rng(len(titles))
    labels = {
        "binary": np.array(["u" in title for title in titles]),
        "multiclass": rng.integers(0, 3, len(titles)),
        "regression": np.array([len(title) + rng.normal() for title in titles]),
    }[kind]
    parts: dict[str, Any] = {**split_titles(titles[: len(titles) - spare])}
    classes = ["a", "b", "c"] if kind == "multiclass" else []
    return Task(name, kind, titles, labels, **parts, classes=classes)


@pytest.fixture
def titles(grocery_titles):
    return [title.lower() for title in grocery_titles[:300]]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_scores_are_those_of_the_linear_model_on_the_vectors(tmp_path, titles, kind):
    task = task_of(titles + titles[:100], kind=kind)
    model = Letters(name="letters", folder=tmp_path)
    model.prepare([task])
    elsewhere = pickle.loads(pickle.dumps(model))  # cells run in other processes
    fitted = elsewhere.fit(task, task.train[:80], 0)
    plain = LinearOnVectors(name="plain", vectors=letters(task.titles)).fit(
        task, task.train[:80], 0
    )
    np.testing.assert_array_equal(fitted.predict_scores(task.test), plain.predict_scores(task.test))
    assert fitted.bytes == plain.bytes


def test_each_title_is_encoded_once_ever(tmp_path, titles, monkeypatch):
    monkeypatch.setattr(stored_vectors, "CHUNK", 32)
    first, second = task_of(titles[:200] * 2, "first"), task_of(titles[150:], "second")
    model = Letters(name="letters", folder=tmp_path)
    model.prepare([first])
    assert sorted(Letters.encoded) == sorted(set(titles[:200]))
    Letters.encoded.clear()
    figures = model.prepare([first, second])
    assert sorted(Letters.encoded) == sorted(set(titles[150:]) - set(titles[:200]))
    assert figures["titles_per_second"] > 0
    assert figures["bytes"] == 4_321
    Letters.encoded.clear()
    files = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert model.prepare([second, first]) == figures
    assert not Letters.encoded
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == files


def test_a_stopped_run_goes_on_where_it_was(tmp_path, titles, monkeypatch):
    monkeypatch.setattr(stored_vectors, "CHUNK", 32)
    task, model = task_of(titles), Letters(name="letters", folder=tmp_path)
    monkeypatch.setattr(Letters, "stop_after", 96)
    with pytest.raises(KeyboardInterrupt):
        model.prepare([task])
    done = list(Letters.encoded)
    assert len(done) == 96
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    Letters.encoded.clear()
    monkeypatch.setattr(Letters, "stop_after", None)
    model.prepare([task])
    assert sorted(Letters.encoded + done) == sorted(set(titles))
    plain = LinearOnVectors(name="plain", vectors=letters(titles)).fit(task, task.train, 0)
    scores = model.fit(task, task.train, 0).predict_scores(task.test)
    np.testing.assert_array_equal(scores, plain.predict_scores(task.test))


def test_titles_of_no_part_cost_nothing_and_have_no_vector(tmp_path, titles):
    task, model = task_of(titles, spare=50), Letters(name="letters", folder=tmp_path)
    model.prepare([task])
    assert set(Letters.encoded) == set(titles[:-50])
    (matrix,) = tmp_path.rglob("*.npy")
    stored = np.load(matrix, allow_pickle=False)
    np.testing.assert_array_equal(stored[:-50], letters(titles[:-50]))
    assert np.isnan(stored[-50:]).all()


def test_another_encoder_has_vectors_of_its_own(tmp_path, titles):
    task = task_of(titles)
    one, two = (Letters(name="letters", folder=tmp_path, weights=w) for w in (1, 2))
    one.prepare([task])
    two.prepare([task])
    assert len(Letters.encoded) == 2 * len(set(titles))
    assert one.digest() != two.digest()
    same = Letters(name="another name", folder=tmp_path / "elsewhere", weights=2)
    assert same.digest() == two.digest()


@pytest.mark.parametrize("size", [100, 400])  # too few rows for tuning, and enough
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_words_are_weighted_and_tuned_as_ours(
    encoder: TitleEncoder, grocery_titles: list[str], tmp_path: Path, kind: str, size: int
) -> None:
    encoder.save(tmp_path / "encoder")
    task = task_of([title.lower() for title in grocery_titles[:800]], kind=kind)
    ours = FrozenEncoder(name="ours", saved=tmp_path / "encoder", use_words=True)
    source = str(tmp_path / "encoder")
    model = Stored(name="stored", folder=tmp_path, source=source, use_words=True)
    model.prepare([task], quiet=True)
    rows = task.train[:size]
    fitted, expected = model.fit(task, rows, 0), ours.fit(task, rows, 0)
    assert fitted.settings == expected.settings
    assert set(fitted.settings) == {"weight", "C"}
    assert fitted.bytes == expected.bytes
    np.testing.assert_allclose(
        fitted.predict_scores(task.test), expected.predict_scores(task.test), rtol=0, atol=1e-9
    )
    vectors = ours.vectors(task).toarray()
    np.testing.assert_allclose(model.vectors(task).toarray(), vectors, rtol=0, atol=1e-9)


def test_words_share_the_stored_vectors(tmp_path, titles):
    task = task_of(titles)
    alone = Letters(name="letters", folder=tmp_path)
    words = replace(alone, name="letters + words", use_words=True)
    costs = alone.prepare([task], quiet=True)
    Letters.encoded.clear()
    assert words.prepare([task], quiet=True) == costs
    assert not Letters.encoded
    assert words.digest() == alone.digest()
    # but not the cells
    assert words.settings() != alone.settings()
    assert (alone.vectors_alone, words.vectors_alone) == (True, False)
    first, second = (m.fit(task, task.train, 0).predict_scores(task.test) for m in (alone, words))
    assert not np.allclose(first, second)


def test_fit_before_prepare_says_so(tmp_path, titles):
    with pytest.raises(InputError, match=r"no vectors of toy; prepare letters with this task"):
        Letters(name="letters", folder=tmp_path).fit(task_of(titles), np.arange(10), 0)


def test_a_damaged_chunk_is_named(tmp_path, titles):
    model = Letters(name="letters", folder=tmp_path)
    model.prepare([task_of(titles[:200])])
    (chunk,) = tmp_path.rglob("chunk-*.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(InputError, match=f"{chunk.name}: is damaged") as raised:
        model.prepare([task_of(titles)])
    assert "\n" not in str(raised.value)

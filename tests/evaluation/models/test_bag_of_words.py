"""Linear models on words and n-grams, compared with scikit-learn's own pipeline."""

import pickle
from typing import Any

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score

from vitrina.evaluation.models.bag_of_words import BagOfWords, NgramTfidf, ngram_vectorizer
from vitrina.evaluation.protocol import split_titles
from vitrina.evaluation.task import Task
from vitrina.hashing import content_key

STRENGTHS = {"binary": (10, 1, 100), "multiclass": (10, 1, 100), "regression": (1, 0.1, 10)}


def task_of(titles: list[str], kind: Any) -> Task:
    """A task whose labels depend on the titles, with noise."""
    rng = np.random.default_rng(0)
    numbers = np.array([len(title) + 8 * ("OZ" in title) for title in titles])
    numbers = numbers + 12 * rng.standard_normal(len(titles))
    labels = {
        "binary": numbers > 25,
        "multiclass": np.digitize(numbers, [18, 30]),
        "regression": numbers,
    }[kind]
    parts: dict[str, Any] = {**split_titles(titles)}
    classes = ("short", "middle", "long") if kind == "multiclass" else ()
    return Task("length", kind, titles, labels, **parts, classes=classes)


def features(train, other):
    """The features of both lists of titles, with the vocabulary of the first."""
    word = r"(?u)\b\w+\b"
    parts = [
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=word),
        TfidfVectorizer(ngram_range=(3, 5), sublinear_tf=True, analyzer="char_wb"),
    ]
    fitted = [part.fit_transform(train) for part in parts]
    return hstack(fitted, "csr"), hstack([part.transform(other) for part in parts], "csr")


def predict(kind, train, labels, test, C):
    if kind == "regression":
        return Ridge(alpha=1 / C).fit(train, labels).predict(test)

    def decide(labels):
        model = LogisticRegression(C=C, solver="liblinear", max_iter=1000)
        return model.fit(train, labels).decision_function(test)

    if kind == "binary":
        return decide(labels)
    return np.column_stack([decide(labels == k) for k in range(3)])


def quality(kind, truth, scores):
    if kind == "regression":
        return r2_score(truth, scores)
    if kind == "binary":
        return roc_auc_score(truth, scores)
    return np.mean([roc_auc_score(truth == k, scores[:, k]) for k in range(3)])


def best_strength(kind, titles, labels):
    """3-fold cross-validation on the first row of each distinct title, 2,000 rows at most."""
    first = sorted({title: row for row, title in reversed(list(enumerate(titles)))}.values())
    if len(first) < 300:
        return STRENGTHS[kind][0]
    rows = np.random.default_rng(0).permutation(first)[:2000]
    rank = np.argsort(np.argsort(labels[rows], kind="stable"))  # by label
    means = []
    for C in STRENGTHS[kind]:
        scores = []
        for k in range(3):
            train, test = rows[rank % 3 != k], rows[rank % 3 == k]
            a, b = features([titles[row] for row in train], [titles[row] for row in test])
            scores.append(quality(kind, labels[test], predict(kind, a, labels[train], b, C)))
        means.append(np.mean(scores))
    return STRENGTHS[kind][int(np.argmax(means))]


@pytest.mark.parametrize("size", [120, 450])  # too few titles for tuning, and enough
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_ngrams_agree_with_scikit_learn(grocery_titles: list[str], kind: Any, size: int) -> None:
    task = task_of(grocery_titles[:1000] + grocery_titles[:60], kind)
    rows = task.train[-size:]
    model = pickle.loads(pickle.dumps(NgramTfidf(name="n-grams")))  # cells run in other processes
    fitted = model.fit(task, rows, 0)
    titles = task.titles_of(rows)
    C = best_strength(kind, titles, task.labels[rows])
    assert fitted.settings == {"C": C}
    train, test = features(titles, task.titles_of(task.test))
    expected = predict(kind, train, task.labels[rows], test, C)
    np.testing.assert_allclose(fitted.predict_scores(task.test), expected, rtol=0, atol=1e-9)


def test_strength_is_chosen_for_the_labels(grocery_titles: list[str]) -> None:
    titles = grocery_titles[:800]
    parts: dict[str, Any] = {**split_titles(titles)}
    noise = np.random.default_rng(0).random(len(titles)) < 0.5
    words = np.array(["OZ" in title for title in titles])
    chosen = []
    for labels in (noise, words):
        task = Task("words", "binary", titles, labels, **parts)
        chosen.append(NgramTfidf(name="n-grams").fit(task, task.train, 0).settings["C"])
    assert chosen[0] < chosen[1]
    # a fold without positive rows has no AUC: the default is used
    rare = np.arange(len(titles)) == parts["train"][0]
    task = Task("rare", "binary", titles, rare, **parts)
    assert NgramTfidf(name="n-grams").fit(task, task.train, 0).settings == {"C": 10}


def test_words_are_raw_and_in_lower_case() -> None:
    vectorizer = ngram_vectorizer().fit(["Milk 1 L", "milk, skim"])
    words, characters = (part.vocabulary_ for _, part in vectorizer.transformer_list)
    assert set(words) == {"milk", "1", "l", "skim", "milk 1", "1 l", "milk skim"}
    assert " mil" in characters
    assert max(map(len, characters)) == 5
    # the features of both parts have length 1; a part that is unknown has none
    lengths = np.sqrt(vectorizer.transform(["MILK", "l", "?"]).power(2).sum(axis=1))
    np.testing.assert_allclose(np.ravel(lengths), np.sqrt([2, 2, 0]))


def test_the_most_frequent_features_are_kept() -> None:
    vectorizer = ngram_vectorizer(np.float32, max_features=2).fit(["a b", "a c", "a d b"])
    assert vectorizer.transform(["a b"]).dtype == np.float32
    assert set(vectorizer.transformer_list[0][1].vocabulary_) == {"a", "b"}


def test_the_size_counts_vocabulary_and_coefficients(grocery_titles: list[str]) -> None:
    task = task_of(grocery_titles[:200], "binary")
    vectorizer = ngram_vectorizer().fit(task.titles_of(task.train))
    terms = vectorizer.transform([""]).shape[1]
    vocabularies = [part.vocabulary_ for _, part in vectorizer.transformer_list]
    letters = sum(len("".join(vocabulary)) for vocabulary in vocabularies)
    fitted = NgramTfidf(name="n-grams").fit(task, task.train, 0)
    assert fitted.bytes == 8 * terms + 8 + letters + 8 * terms


def test_vectors_have_unit_length(grocery_titles: list[str]) -> None:
    task = task_of(grocery_titles[1:200], "binary")
    vectors = NgramTfidf(name="n-grams").vectors(task)
    assert vectors.shape[0] == len(task.titles)
    np.testing.assert_allclose(vectors.multiply(vectors).sum(axis=1), 1)


@pytest.mark.parametrize("tfidf", [True, False])
def test_words_agree_with_scikit_learn(grocery_titles: list[str], tfidf: bool) -> None:
    task = task_of(grocery_titles[:400], "binary")
    rows = task.train[:100]
    vectorizer = (TfidfVectorizer if tfidf else CountVectorizer)(token_pattern=r"(?u)\b\w+\b")
    train = vectorizer.fit_transform(task.titles_of(rows)).astype(float)
    test = vectorizer.transform(task.titles_of(task.test)).astype(float)
    expected = predict("binary", train, task.labels[rows], test, 1.0)
    fitted = BagOfWords(name="words", tfidf=tfidf).fit(task, rows, 0)
    np.testing.assert_allclose(fitted.predict_scores(task.test), expected, rtol=0, atol=1e-9)


def test_settings_identify_the_cells() -> None:
    models = [BagOfWords(name="a"), BagOfWords(name="a", tfidf=False), NgramTfidf(name="a")]
    keys = [content_key(model.settings()) for model in models]
    assert len(set(keys)) == 3
    assert content_key(NgramTfidf(name="b", max_subsamples=1).settings()) == keys[2]
    assert not any(model.vectors_alone for model in models)

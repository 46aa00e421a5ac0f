"""The encoder as a scikit-learn transformer; a title's vector depends on that title only."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.errors import InputError

ANY = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.text(st.characters(categories=["Cs", "Mn", "Mc", "Cc", "Cf", "So", "Nd"]), max_size=10),
    st.lists(st.sampled_from(["apple", "Sauce", "24", "oz", "1,5", "ñ", "-", "🍎"])).map(" ".join),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(ANY, min_size=1, max_size=8),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
    st.sampled_from(["float32", "int8"]),
)
def test_any_title_has_a_vector_of_its_own(
    encoder: TitleEncoder, titles: list[str | None], random: object, threads: int, table: str
) -> None:
    encoder = clone(encoder).set_params(table=table)
    vectors = encoder.transform(titles)
    assert vectors.shape == (len(titles), 64)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (vectors >= 0).all()
    order = list(range(len(titles)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = clone(encoder).set_params(threads=threads).transform([titles[i] for i in order])
    np.testing.assert_array_equal(shuffled, vectors[order])
    for title, vector in zip(titles, vectors, strict=True):
        np.testing.assert_array_equal(encoder.transform([title])[0], vector)


def test_real_titles_alone_and_together(encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    vectors = encoder.transform(grocery_titles)
    assert len(np.unique(vectors, axis=0)) > 0.9 * len(set(grocery_titles))
    for threads in (1, 3, 5):
        other = TitleEncoder(encoder.weights, threads)
        np.testing.assert_array_equal(other.transform(grocery_titles[::-1])[::-1], vectors)
    for row in range(0, len(grocery_titles), 97):
        np.testing.assert_array_equal(encoder.transform([grocery_titles[row]])[0], vectors[row])


def test_all_kinds_of_columns_give_the_same(encoder: TitleEncoder) -> None:
    titles = ["APPLE SAUCE 24 OZ", None, "pan"]
    vectors = encoder.transform(titles)
    np.testing.assert_array_equal(vectors[1], encoder.transform([""])[0])
    for column in (
        np.array(titles, object),
        pl.Series(titles),
        pa.array(titles),
        pd.Series(titles),
        pd.DataFrame({"title": titles}),
    ):
        np.testing.assert_array_equal(encoder.transform(column), vectors)


def test_a_small_table_gives_nearly_the_same(
    encoder: TitleEncoder, grocery_titles: list[str]
) -> None:
    exact = clone(encoder).set_params(table="float32").transform(grocery_titles)
    near = encoder.transform(grocery_titles)
    assert not np.array_equal(near, exact)
    assert (unit_length(near) * unit_length(exact)).sum(axis=1).min() > 0.999
    with pytest.raises(InputError, match=r"^`table` is 'int4'; it must be float32 or int8$"):
        clone(encoder).set_params(table="int4").transform(["a"])


def test_no_titles(encoder: TitleEncoder) -> None:
    for none in (list[str](), pd.Series([], dtype=object), pl.Series([], dtype=pl.String)):
        assert encoder.transform(none).shape == (0, 64)


def test_bad_input(encoder: TitleEncoder) -> None:
    for titles in ("a title", [5], None, pd.DataFrame({"a": ["x"], "b": ["y"]})):
        with pytest.raises(InputError, match=r"^titles: "):
            encoder.transform(titles)
    for use in (TitleEncoder.transform, TitleEncoder.get_feature_names_out):
        with pytest.raises(InputError, match=r"TitleEncoder.load\(path\)$"):
            use(TitleEncoder("a/path"), ["a"])  # type: ignore[arg-type]


def test_threads_share_an_encoder(encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    expected = encoder.transform(grocery_titles)
    fresh = TitleEncoder(
        type(encoder.weights)(
            encoder.weights.embeddings,
            encoder.weights.filters,
            encoder.weights.bias,
            encoder.weights.tokenizer,
        ),
        threads=2,
    )  # its table isn't there yet: the threads race for it

    def work(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(grocery_titles))
        parts = np.array_split(order, 10)
        return all(
            np.array_equal(fresh.transform([grocery_titles[i] for i in part]), expected[part])
            for part in parts
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


def test_clones_share_the_weights(encoder: TitleEncoder) -> None:
    twin = clone(encoder.set_params(threads=None))
    assert twin is not encoder
    assert twin.weights is encoder.weights
    assert set(encoder.get_params()) == {"weights", "threads", "table"}
    assert twin.set_params(threads=1).threads == 1
    assert encoder.threads is None
    assert re.fullmatch(r"TitleEncoder\(.*weights=<500 pieces × 32 → 64>\)", repr(twin))


def test_names_of_the_numbers(encoder: TitleEncoder) -> None:
    names = encoder.get_feature_names_out()
    assert names.tolist() == [f"vitrina{i}" for i in range(64)]
    titles = pd.Series(["a b", "c"], index=[7, 3])
    framed = clone(encoder).set_output(transform="pandas").transform(titles)
    assert isinstance(framed, pd.DataFrame)
    assert framed.columns.tolist() == names.tolist()
    assert framed.index.tolist() == [7, 3]
    np.testing.assert_array_equal(framed, encoder.transform(titles))
    framed = clone(encoder).set_output(transform="polars").transform(["a b", "c"])
    assert isinstance(framed, pl.DataFrame)
    assert framed.columns == names.tolist()
    np.testing.assert_array_equal(framed, encoder.transform(titles))


def test_a_pipeline_and_cross_validation(encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    titles = np.array(grocery_titles, object)
    label = np.array(["OZ" in title for title in titles])
    pipeline = make_pipeline(encoder, LogisticRegression(C=1e4, max_iter=2000))
    pipeline.fit(titles[::2], label[::2])
    by_hand = LogisticRegression(C=1e4, max_iter=2000)
    by_hand.fit(encoder.transform(titles[::2]), label[::2])
    np.testing.assert_array_equal(
        pipeline.predict_proba(titles[1::2]),
        by_hand.predict_proba(encoder.transform(titles[1::2])),
    )
    scores = cross_val_score(pipeline, titles, label, cv=3, scoring="roc_auc")
    assert scores.min() > 0.65  # chance is 0.5


def test_one_column_among_others(encoder: TitleEncoder) -> None:
    frame = pd.DataFrame(
        {"title": ["apple sauce", None, "pan"], "price": [1.0, 2.0, 3.0]}, index=[9, 2, 2]
    )
    for column in ("title", ["title"]):
        columns = ColumnTransformer(
            [("text", clone(encoder), column), ("rest", "passthrough", ["price"])]
        ).fit(frame)
        out = columns.transform(frame)
        np.testing.assert_array_equal(out[:, :64], encoder.transform(frame["title"]))
        np.testing.assert_array_equal(out[:, 64], frame["price"])
        assert columns.get_feature_names_out()[[0, 63, 64]].tolist() == [
            "text__vitrina0",
            "text__vitrina63",
            "rest__price",
        ]
        framed = columns.set_output(transform="pandas").transform(frame)
        assert framed.index.tolist() == [9, 2, 2]
        np.testing.assert_array_equal(framed, out)

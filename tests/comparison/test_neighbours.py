"""Neighbours that two encoders share, against brute force."""

from __future__ import annotations

import numpy as np

from vitrina.comparison.neighbours import K, neighbours_kept
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.encoder.weights import initial_weights
from vitrina.text.tokenizer import TitleTokenizer


def test_against_brute_force(
    encoder: TitleEncoder, tokenizer: TitleTokenizer, grocery_titles: list[str]
) -> None:
    other = TitleEncoder(initial_weights(tokenizer, dim=32, filters=16, seed=7))
    # no two titles with equal pieces, whose order would be arbitrary
    distinct = {tokenizer([title])[0].tobytes(): title for title in grocery_titles[:400]}
    titles = list(distinct.values())
    found = neighbours_kept(encoder, other, titles, examples=5, quiet=True)
    assert found is not None
    nearest = []
    for each in (encoder, other):
        vectors = unit_length(each.encode(titles).astype(np.float64))
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        nearest.append(np.argsort(-cosines, axis=1)[:, :K])
    kept = [len(set(a) & set(b)) for a, b in zip(*nearest, strict=True)]
    # vectors are stored in 16 bits, so near ties may change places
    assert np.abs(found.kept - kept).max() <= 1
    assert (found.kept != kept).mean() < 0.05
    assert 1 < found.kept.mean() < K
    assert (found.searched, found.k) == (len(titles), K)
    assert len(found.changed) == 5
    for title, by_old, by_new in found.changed:
        row = titles.index(title)
        assert found.kept[row] <= np.sort(found.kept)[4]
        assert titles.index(by_old) in nearest[0][row][:2]
        assert titles.index(by_new) in nearest[1][row][:2]


def test_the_same_encoder_keeps_all(encoder: TitleEncoder, grocery_titles: list[str]) -> None:
    titles = [*grocery_titles[:60], *(f"{title}!" for title in grocery_titles[:60])]  # equal pairs
    found = neighbours_kept(encoder, encoder, titles, examples=5, quiet=True)
    assert found is not None
    assert found.kept.tolist() == [K] * 120
    assert found.changed == []
    few = neighbours_kept(encoder, encoder, titles[:4], examples=5, quiet=True)
    assert few is not None
    assert (few.k, few.kept.tolist()) == (3, [3] * 4)
    assert neighbours_kept(encoder, encoder, titles[:1], examples=5, quiet=True) is None

"""Skip-gram with negative sampling over sessions of products and their metadata.

Products and metadata values are both tokens. Each token has an input vector v and an output vector
u. The loss of predicting an output token o from an input token i is

    ℓ(o | i) = -log σ(u_o · v_i) - k E_{n ~ P} log σ(-u_n · v_i),

as in word2vec (Mikolov et al., 2013). σ is the logistic function. P is the unigram distribution, to
the power of 3/4, of the products if o is a product and of the metadata values if it is one of them.

A pair is a visited product i and a partner j from the same session, with metadata values M_i and
M_j. Over all pairs, Meta-Prod2Vec (Vasile, Smirnova, Conneau, RecSys 2016, arXiv 1607.07326) sums

    L = L_{J|I} + λ (L_{M|I} + L_{J|M} + L_{M|M} + L_{I|M}),    where the terms of a pair are

    L_{J|I}  ℓ(j | i)                                   products together: Prod2Vec
    L_{M|I}  mean over m' in M_j of ℓ(m' | i)           the partner's metadata, from the product
    L_{J|M}  mean over m in M_i of ℓ(j | m)             the partner, from the product's metadata
    L_{M|M}  mean over m in M_i, m' in M_j of ℓ(m' | m)
    L_{I|M}  mean over m in M_i of ℓ(i | m)             the product, from its own metadata.

In that paper a product has one metadata value (its artist). Here it has many, so the terms are
means and not sums: a pair then has the same weight whether titles are long or short. A term without
metadata is 0. The implementation draws one metadata value of each product for each pair; the
expected loss is the same.

The paper uses word2vec's window. Here the partners of a visit are drawn from its whole session by
default, because a basket has no order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrina.compiled import compiled
from vitrina.ragged import Ragged

Floats: TypeAlias = npt.NDArray[np.floating[Any]]

NEGATIVES = 5
"""Number of negative samples of each prediction: k, as in word2vec."""
PARTNERS = 5
"""Maximum number of partners of a visit in each epoch; word2vec has 6 on average."""
PARTS = 50
"""Number of parts of an epoch; the learning rate falls after each part."""

_POWER = 0.75


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sessions of products, and the metadata of these products.

    Attributes
    ----------
    sessions : Ragged
        The products of each session, numbered from 0. Every product is in some session.
    metadata : Ragged
        The metadata values of each product, numbered from 0. Every value belongs to some product.
    """

    sessions: Ragged
    metadata: Ragged

    @property
    def n_products(self) -> int:
        return len(self.metadata)

    @cached_property
    def n_metadata(self) -> int:
        return int(self.metadata.values.max(initial=-1)) + 1

    @cached_property
    def visits(self) -> npt.NDArray[np.int64]:
        """Number of visits of each product, shape (n_products,)."""
        return np.bincount(self.sessions.values, minlength=self.n_products)

    @property
    def pairs(self) -> int:
        """Number of pairs in an epoch; a narrow window makes it somewhat smaller."""
        lengths = self.sessions.lengths
        return int((lengths * np.minimum(lengths - 1, PARTNERS)).sum())

    @cached_property
    def noise(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Tables from which negative products and negative metadata values are drawn.

        The count of a metadata value is the expected number of times that it is drawn in one pass
        over the visits, where each visit draws one value of its product.
        """
        lengths = self.metadata.lengths
        weight_of_value = np.repeat(self.visits / np.maximum(lengths, 1), lengths)
        counts = np.bincount(self.metadata.values, weight_of_value, self.n_metadata)
        # metadata tokens are numbered after the products
        return _noise_table(self.visits), _noise_table(counts) + np.int32(self.n_products)


def _noise_table(counts: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Tabulate the quantiles of the distribution that is proportional to counts^0.75.

    A uniform draw from the table is a draw from the distribution, as in word2vec.
    """
    if not len(counts):
        return np.empty(0, np.int32)
    cumulative = np.cumsum(counts.astype(np.float64) ** _POWER)
    size = max(2**20, 8 * len(counts))
    quantiles = (np.arange(size) + 0.5) / size * cumulative[-1]
    table: npt.NDArray[np.int32] = np.searchsorted(cumulative, quantiles, side="right").astype(
        np.int32
    )
    return table


def train(
    corpus: Corpus,
    *,
    weight: float,
    dim: int,
    epochs: int,
    window: int,
    rate: float,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.float32]:
    """Train the vectors of all tokens.

    Parameters
    ----------
    corpus : Corpus
    weight : float
        λ of the module's loss. With 0 this is Prod2Vec, and the vectors of metadata values keep
        their random initial values.
    dim : int
        Length of a vector.
    epochs : int
        Number of passes over all visits.
    window : int
        Maximum distance of two partners in a session; 0 for no limit.
    rate : float
        Initial learning rate, which falls linearly to 0.
    seed : int
        Random seed. Equal seeds give equal vectors on processors of the same kind.
    report : callable, optional
        Called after each part with the number of parts done, of epochs · PARTS.

    Returns
    -------
    ndarray of shape (n_products + n_metadata, dim), float32
        Input vectors, those of the products first.
    """
    n = corpus.n_products + corpus.n_metadata
    # Initial vectors have a generator of their own: metadata adds vectors, which must not change
    # the order of the sessions. The products come first and so start from the same vectors.
    uniform = np.random.default_rng([seed, 0]).random((n, dim), np.float32)
    inputs = (uniform - np.float32(0.5)) / np.float32(dim)
    outputs = np.zeros_like(inputs)
    rng = np.random.default_rng([seed, 1])
    state = rng.integers(1, 2**63, size=1, dtype=np.uint64)

    weights = np.array([1.0, weight, weight, weight, weight])
    steps = epochs * PARTS
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(corpus.sessions))
        for part in np.array_split(order, PARTS):
            decayed = rate * (1 - step / steps)
            update(corpus, inputs, outputs, part, weights, decayed, window, state)
            step += 1
            report(step)
    return inputs


def update(
    corpus: Corpus,
    inputs: Floats,
    outputs: Floats,
    order: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    rate: float,
    window: int,
    state: npt.NDArray[np.uint64],
) -> None:
    """Draw pairs from some sessions and take a step of stochastic gradient descent on each.

    Parameters
    ----------
    corpus : Corpus
    inputs, outputs : ndarray of shape (n_products + n_metadata, dim), float32 or float64
        The vectors, updated in place.
    order : ndarray of int64
        The sessions, by number, in the order in which they are visited.
    weights : ndarray of shape (5,), float64
        Weights of the terms J|I, M|I, J|M, M|M and I|M.
    rate : float
        Learning rate.
    window : int
        Maximum distance of two partners in a session; 0 for no limit.
    state : ndarray of shape (1,), uint64
        State of the random number generator, not 0, updated in place.
    """
    _update(
        inputs,
        outputs,
        corpus.sessions.values,
        corpus.sessions.offsets,
        corpus.metadata.values,
        corpus.metadata.offsets,
        *corpus.noise,
        order,
        weights,
        rate,
        window or max(corpus.sessions.lengths),
        state,
    )


# Sums may be reordered: otherwise a dot product can't use the processor's vector instructions.
_compiled = compiled(fastmath={"reassoc", "contract"})


@_compiled
def _below(state: Any, n: int) -> Any:
    """Draw a number from 0 to n - 1: the upper half of xorshift64*, scaled to that range."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    upper = (x * np.uint64(2685821657736338717)) >> np.uint64(32)
    return np.int64((upper * np.uint64(n)) >> np.uint64(32))


@_compiled
def _descend(
    inputs: Any, outputs: Any, given: int, predicted: int, noise: Any, rate: float, state: Any
) -> None:
    """Take one step on ℓ(predicted | given), with randomly drawn negatives."""
    targets = np.empty(NEGATIVES + 1, np.int64)
    missing = np.empty(NEGATIVES + 1, inputs.dtype)
    gradient = np.zeros(inputs.shape[1], inputs.dtype)
    targets[0] = predicted
    for k in range(1, NEGATIVES + 1):
        targets[k] = noise[_below(state, len(noise))]
    # All dot products come first: the processor then fetches the rows at the same time and doesn't
    # wait for them one by one.
    for k in range(NEGATIVES + 1):
        target = targets[k]
        dot = inputs.dtype.type(0)
        for d in range(inputs.shape[1]):
            dot += outputs[target, d] * inputs[given, d]
        missing[k] = rate * ((1 if k == 0 else 0) - 1 / (1 + np.exp(-dot)))
    # every target uses the input vector from before this step, so it is updated last
    for k in range(NEGATIVES + 1):
        target, scale = targets[k], missing[k]
        for d in range(inputs.shape[1]):
            gradient[d] += scale * outputs[target, d]
            outputs[target, d] += scale * inputs[given, d]
    for d in range(inputs.shape[1]):
        inputs[given, d] += gradient[d]


@_compiled
def _one_of(metadata: Any, offsets: Any, product: int, first: int, state: Any) -> Any:
    """Draw a metadata value of a product and return its token; -1 if the product has none."""
    n = offsets[product + 1] - offsets[product]
    return first + metadata[offsets[product] + _below(state, n)] if n > 0 else -1


@_compiled
def _update(
    inputs: Any,
    outputs: Any,
    products: Any,
    offsets: Any,
    metadata: Any,
    metadata_offsets: Any,
    product_noise: Any,
    metadata_noise: Any,
    order: Any,
    weights: Any,
    rate: float,
    window: int,
    state: Any,
) -> None:
    n_products = len(metadata_offsets) - 1
    rates = rate * weights
    side_information = rates[1:].max() > 0
    m_i = m_j = -1
    for session in order:
        for place in range(offsets[session], offsets[session + 1]):
            first = max(offsets[session], place - window)
            others = min(offsets[session + 1], place + window + 1) - first - 1
            for _ in range(min(PARTNERS, others)):
                # any place within the window except the visit's own
                other = first + _below(state, others)
                i = np.int64(products[place])
                j = np.int64(products[other + 1 if other >= place else other])
                if side_information:
                    m_i = _one_of(metadata, metadata_offsets, i, n_products, state)
                    m_j = _one_of(metadata, metadata_offsets, j, n_products, state)
                # the five terms in the order of `weights`; -1 skips a term
                given = (i, i, m_i, m_i, m_i)
                predicted = (j, m_j, j, m_j, i)
                for term in range(5):
                    o = predicted[term]
                    if rates[term] > 0 and given[term] >= 0 and o >= 0:
                        noise = product_noise if o < n_products else metadata_noise
                        _descend(inputs, outputs, given[term], o, noise, rates[term], state)

"""Skip-gram with negative sampling over sessions of products and their metadata.

Products and metadata values are tokens alike, each with an input vector v and an output vector u.
With σ the logistic function and P the output's kind, the loss of predicting o from i is

    ℓ(o | i) = -log σ(u_o · v_i) - k E_{n ~ P} log σ(-u_n · v_i),

P being the unigram distribution of the products (or of the metadata values, for such an output)
to the power of 3/4: word2vec (Mikolov et al., 2013). Over the pairs of a visited product i and a
partner j in its session, whose metadata values are M_i and M_j, Meta-Prod2Vec (Vasile, Smirnova,
Conneau, RecSys 2016, arXiv 1607.07326) adds up

    L = L_{J|I} + λ (L_{M|I} + L_{J|M} + L_{M|M} + L_{I|M}),    where a pair counts as

    L_{J|I}  ℓ(j | i)                                   products together: Prod2Vec
    L_{M|I}  mean over m' in M_j of ℓ(m' | i)           the partner's metadata, from the product
    L_{J|M}  mean over m in M_i of ℓ(j | m)             the partner, from the product's metadata
    L_{M|M}  mean over m in M_i, m' in M_j of ℓ(m' | m)
    L_{I|M}  mean over m in M_i of ℓ(i | m)             the product, from its own metadata.

The paper has one metadata value a product (its artist). Here they are many, so means take the
place of sums: a pair has the same say whether titles are long or short. A term without metadata
is 0. One value of either side is drawn for each pair, which leaves the mean what it is.

The paper's window is word2vec's. Here the partners of a visit are drawn from its whole session
by default: a basket has no order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from vitrina.ragged import Ragged

Floats: TypeAlias = npt.NDArray[np.floating[Any]]

NEGATIVES = 5
"""k, as in word2vec."""
PARTNERS = 5
"""Of a visit, in an epoch; fewer where there are not so many. word2vec has 6 on average."""
_POWER = 0.75
PARTS = 50
"""Of an epoch: the learning rate falls from one to the next."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sessions, and what is known of their products.

    Attributes
    ----------
    sessions : Ragged
        Products, numbered from 0, each in one session at least.
    metadata : Ragged
        The metadata values of every product, numbered from 0, each of some product.
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
        """Visits of every product, shape (n_products,)."""
        return np.bincount(self.sessions.values, minlength=self.n_products)

    @property
    def pairs(self) -> int:
        """Pairs that an epoch draws; a narrow window leaves somewhat fewer."""
        lengths = self.sessions.lengths
        return int((lengths * np.minimum(lengths - 1, PARTNERS)).sum())

    @cached_property
    def noise(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Tables of tokens to draw negatives from: products, and metadata values.

        A metadata value counts as often as its products' visits draw it.
        """
        lengths = self.metadata.lengths
        share = np.repeat(self.visits / np.maximum(lengths, 1), lengths)
        drawn = np.bincount(self.metadata.values, share, self.n_metadata)
        return _noise(self.visits), _noise(drawn) + np.int32(self.n_products)


def _noise(counts: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """A uniform draw from this table is one from counts^0.75: its quantiles, as in word2vec."""
    if not len(counts):
        return np.empty(0, np.int32)
    ends = np.cumsum(counts.astype(np.float64) ** _POWER)
    size = max(2**20, 8 * len(counts))
    at = (np.arange(size) + 0.5) / size * ends[-1]
    table: npt.NDArray[np.int32] = np.searchsorted(ends, at, side="right").astype(np.int32)
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
    """Input vectors of all tokens, products first, shape (n_products + n_metadata, dim), float32.

    Parameters
    ----------
    corpus
    weight : λ; for 0 this is Prod2Vec, and metadata vectors stay as they were drawn
    dim : length of a vector
    epochs : times that every visit gives pairs
    window : how many places apart partners may be, 0 for any
    rate : learning rate, at first; it falls linearly to 0
    seed : the result follows from it, on one kind of processor
    report : called with the parts done, of epochs · PARTS
    """
    n = corpus.n_products + corpus.n_metadata
    # of generators of its own, so that metadata leaves the products' first vectors as they are
    first = np.random.default_rng([seed, 0]).random((n, dim), np.float32)
    inputs = (first - np.float32(0.5)) / np.float32(dim)
    outputs = np.zeros_like(inputs)
    rng = np.random.default_rng([seed, 1])
    state = rng.integers(1, 2**63, size=1, dtype=np.uint64)
    weights = np.array([1.0, *[weight] * 4])
    orders = (rng.permutation(len(corpus.sessions)) for _ in range(epochs))
    parts = (part for order in orders for part in np.array_split(order, PARTS))
    steps = epochs * PARTS
    for step, part in enumerate(parts):
        now = rate * (1 - step / steps)
        update(corpus, inputs, outputs, part, weights, now, window, state)
        report(step + 1)
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
    """Descend along the gradient of the drawn pairs' losses, session by session, in place.

    Parameters
    ----------
    corpus
    inputs, outputs : (n_products + n_metadata, dim) float32 or float64
    order : numbers of the sessions to visit
    weights : (5,) of J|I, M|I, J|M, M|M and I|M
    rate, window : see `train`
    state : (1,) uint64, not 0, of the random numbers
    """
    products, metadata = corpus.sessions, corpus.metadata
    _update(
        inputs,
        outputs,
        products.values,
        products.offsets,
        metadata.values,
        metadata.offsets,
        *corpus.noise,
        order,
        weights,
        rate,
        window or max(products.lengths),
        state,
    )


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # sums may be reordered: else a dot product can't use the processor's vectors
    reordered = {"reassoc", "contract"}
    try:
        return njit(nogil=True, fastmath=reordered, cache=True)(function)
    except RuntimeError:  # nowhere to keep the machine code: compile it in each process
        return njit(nogil=True, fastmath=reordered)(function)


@_compiled
def _below(state: Any, n: int) -> Any:
    """A number from 0 to n - 1: xorshift64*, whose upper half scales to the range."""
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
    """One step on ℓ(predicted | given), the negatives drawn."""
    targets = np.empty(NEGATIVES + 1, np.int64)
    missing = np.empty(NEGATIVES + 1, inputs.dtype)
    gradient = np.zeros(inputs.shape[1], inputs.dtype)
    targets[0] = predicted
    for k in range(1, NEGATIVES + 1):
        targets[k] = noise[_below(state, len(noise))]
    # first all dot products: so the processor waits for all rows at once, not for one by one
    for k in range(NEGATIVES + 1):
        target = targets[k]
        dot = inputs.dtype.type(0)
        for d in range(inputs.shape[1]):
            dot += outputs[target, d] * inputs[given, d]
        missing[k] = rate * ((1 if k == 0 else 0) - 1 / (1 + np.exp(-dot)))
    for k in range(NEGATIVES + 1):
        target, scale = targets[k], missing[k]
        for d in range(inputs.shape[1]):
            gradient[d] += scale * outputs[target, d]
            outputs[target, d] += scale * inputs[given, d]
    for d in range(inputs.shape[1]):
        inputs[given, d] += gradient[d]


@_compiled
def _one_of(metadata: Any, offsets: Any, product: int, first: int, state: Any) -> Any:
    """The token of one of a product's metadata values, -1 if it has none."""
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
                other = first + _below(state, others)
                i = np.int64(products[place])
                j = np.int64(products[other + 1 if other >= place else other])
                if side_information:
                    m_i = _one_of(metadata, metadata_offsets, i, n_products, state)
                    m_j = _one_of(metadata, metadata_offsets, j, n_products, state)
                given = (i, i, m_i, m_i, m_i)
                predicted = (j, m_j, j, m_j, i)
                for term in range(5):
                    o = predicted[term]
                    if rates[term] > 0 and given[term] >= 0 and o >= 0:
                        noise = product_noise if o < n_products else metadata_noise
                        _descend(inputs, outputs, given[term], o, noise, rates[term], state)

"""Raw titles to vectors: vitrina against bag of words and against the same network in torch.

    python benchmarks/encode.py

Runs alternate, each contender keeps its median; the ratio is vitrina's titles a second over the
peer's. Titles are The Complete Journey's, repeated; weights are random (speed doesn't depend on
them).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from torch.nn import functional

from vitrina import Normalizer, TitleEncoder, TitleTokenizer, open_source
from vitrina.encoder.weights import EncoderWeights, initial_weights

ROUNDS = 5
SLOW = 2_000  # titles for the torch peer, which would take minutes on all


def torch_encode(weights: EncoderWeights, titles: list[str]) -> None:
    """Embedding, four Conv1d, max, ReLU, in padded batches of 256."""
    filters = len(weights.bias) // 4
    embeddings = torch.from_numpy(weights.embeddings)
    kernels, block = [], 0
    for width in (2, 3, 4, 5):
        part = weights.filters[:, block * filters : (block + width) * filters]
        taps = part.reshape(-1, width, filters).transpose(2, 0, 1)
        kernels.append(torch.from_numpy(np.ascontiguousarray(taps)))
        block += width
    pieces = weights.tokenizer(titles)
    rows = [torch.from_numpy(row.astype(np.int64)) for row in pieces]
    with torch.inference_mode():
        for start in range(0, len(rows), 256):
            batch = torch.nn.utils.rnn.pad_sequence(rows[start : start + 256], batch_first=True)
            embedded = embeddings[batch].transpose(1, 2)
            pooled = [functional.conv1d(embedded, kernel).amax(2) for kernel in kernels]
            functional.relu(torch.cat(pooled, 1) + torch.from_numpy(weights.bias))


def main() -> None:
    table = open_source("completejourney").products.collect()
    titles = table["title"].drop_nulls().to_list()
    tokenizer = TitleTokenizer.train(titles, Normalizer("en"))
    encoder = TitleEncoder(initial_weights(tokenizer))
    encoder.transform(titles[:10])  # compile, project the table
    tfidf = TfidfVectorizer().fit(titles)
    contenders: dict[str, tuple[int, Callable[[list[str]], object]]] = {
        "vitrina": (len(titles), encoder.transform),
        "HashingVectorizer": (len(titles), HashingVectorizer().transform),
        "TfidfVectorizer": (len(titles), tfidf.transform),
        "torch conv1d": (SLOW, lambda some: torch_encode(encoder.weights, some)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (count, encode) in contenders.items():
            some = titles[:count]
            start = time.perf_counter()
            encode(some)
            rates[name].append(count / (time.perf_counter() - start))
    ours = statistics.median(rates["vitrina"])
    print(f"{len(titles):,} titles, {len(tokenizer):,} pieces, median of {ROUNDS} rounds")
    for name, measured in rates.items():
        middle = statistics.median(measured)
        spread = f"{min(measured):,.0f} to {max(measured):,.0f}"
        print(f"{name:20} {middle:12,.0f} titles/s ({spread})   ratio {ours / middle:8.2f}")


if __name__ == "__main__":
    main()

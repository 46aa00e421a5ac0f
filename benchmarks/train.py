"""Pairs a second of training: vitrina against the same objective pair by pair in plain PyTorch.

    python benchmarks/train.py

Both see The Complete Journey's sessions (10 products at most), the same networks, forward, backward
and an AdamW step. The peer encodes both products of every pair, as the paper's equations read:
Embedding + Conv1d + max over a padded batch, 512 pairs a step. Steps alternate.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vitrina import open_source, preset, read_catalogue, sessionize
from vitrina.pretraining.batches import Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.loop import Trainer

ROUNDS = 7
PAIRS = 512


class PlainEncoder(nn.Module):
    """Kim's Text CNN as one would write it."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, 512)
        self.convolutions = nn.ModuleList(nn.Conv1d(512, 128, width) for width in (2, 3, 4, 5))

    def forward(self, pieces: Tensor) -> Tensor:
        embedded = self.embedding(pieces).transpose(1, 2)
        return torch.cat([functional.relu(c(embedded).amax(2)) for c in self.convolutions], 1)


def head(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 1025), nn.BatchNorm1d(1025), nn.ReLU(), nn.Linear(1025, outputs)
    )


class Plain:
    """One step of the paper's equations 1 to 4 on a batch of pairs."""

    def __init__(self, data: TrainingData) -> None:
        pieces, categories = len(data.tokenizer), len(data.categories)
        self.data = data
        self.online, self.target = PlainEncoder(pieces), PlainEncoder(pieces)
        self.project, self.project_target = head(512, 128), head(512, 128)
        self.predict, self.classify = head(128, 128), head(512, categories)
        trained = [self.online, self.project, self.predict, self.classify]
        parameters = [p for module in trained for p in module.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, 2e-3, fused=True)

    def padded(self, products: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
        views = self.data.views.values[self.data.views.offsets[products]]
        rows = [torch.from_numpy(self.data.titles[view].astype(np.int64)) for view in views]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def direction(self, key: Tensor, query: Tensor, category: Tensor) -> Tensor:
        y = self.online(key)
        q = functional.normalize(self.predict(self.project(y)))
        with torch.no_grad():
            z = functional.normalize(self.project_target(self.target(query)))
        byol = (2 - 2 * (q * z).sum(1)).mean()
        entropy = functional.cross_entropy(self.classify(y), category, ignore_index=-1)
        return 0.9 * byol + 0.1 * entropy

    def step(self, pairs: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
        one, other = self.padded(pairs[:, 0]), self.padded(pairs[:, 1])
        category = torch.from_numpy(self.data.category[pairs].astype(np.int64))
        loss = self.direction(one, other, category[:, 1])
        loss = loss + self.direction(other, one, category[:, 0])
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        for ours, theirs in ((self.target, self.online), (self.project_target, self.project)):
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                p.data.lerp_(q.data, 0.004)


def main() -> None:
    source = open_source("completejourney")
    catalogue = read_catalogue(source.products)
    sessions = sessionize(source.events, source.gap, product_ids=catalogue.product_ids)
    settings = preset("default", language="en")
    data = TrainingData.prepare(catalogue, sessions, settings)
    batches = Batches(data, settings)
    trainer = Trainer(data, settings, 1000, torch.device("cpu"))
    plain, rng = Plain(data), np.random.default_rng(0)
    ours, theirs = [], []
    for step in range(ROUNDS + 2):
        start = time.perf_counter()
        batch = batches[step]
        trainer.step(batch, step)
        middle = time.perf_counter()
        chosen = data.sessions.take(rng.choice(len(data.sessions), 400, replace=False))
        pairs = [(a, b) for s in chosen for i, a in enumerate(s) for b in s[i + 1 :]]
        plain.step(rng.permutation(np.array(pairs))[:PAIRS].astype(np.int64))
        end = time.perf_counter()
        if step >= 2:  # compiled and warm
            ours.append(batch.pairs / (middle - start))
            theirs.append(PAIRS / (end - middle))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{sessions.pairs:,} pairs, {len(data.tokenizer):,} pieces, {ROUNDS} alternating steps")
    print(f"vitrina             {statistics.median(ours):10,.0f} pairs/s")
    print(f"plain, pair by pair {statistics.median(theirs):10,.0f} pairs/s")
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"one epoch: {sessions.pairs / statistics.median(ours) / 60:.1f} minutes")


if __name__ == "__main__":
    main()

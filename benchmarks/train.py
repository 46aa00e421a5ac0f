"""Training speed in pairs per second, its share of the machine's peak, and the time of each part.

    python benchmarks/train.py [--quick]

The peer is the same objective in plain PyTorch. It encodes both products of every pair, as the
paper's equations are written: Embedding, Conv1d and max over padded batches, with 4,096 pairs per
step (512 with --quick). Both do the forward and backward pass, an AdamW step and the moving
average. Their steps alternate.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from itertools import cycle

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from bench import OURS, SHARED, by_turns, compare, record
from vitrina import load_public_dataset, preset, read_catalogue, sessionize
from vitrina.pretraining.batches import Batches, make_batch
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.objective import losses
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.torch_speed import faster_torch
from vitrina.pretraining.trainer import Trainer
from vitrina.ragged import Ragged, offsets_of

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 5
PAIRS = 512 if QUICK else 4096  # pairs per step of the peer; 4,096 as in the paper
STEPS = 20 if QUICK else 200
EPOCH = 12_400_000  # pairs per epoch in the paper (A.1)


class PlainEncoder(nn.Module):
    """Kim's Text CNN in plain PyTorch."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, 512)
        self.convolutions = nn.ModuleList(nn.Conv1d(512, 128, width) for width in (2, 3, 4, 5))

    def forward(self, titles: list[Tensor]) -> Tensor:
        """Encode titles in padded batches of similar lengths.

        The batches are small enough for the cache, and a thousand titles look up their embeddings
        at once. This is six times as fast as one padded batch of all titles.
        """
        order = torch.tensor([len(title) for title in titles]).argsort()
        pooled = []
        for some in torch.split(order, 1024):
            padded = [
                pad_sequence([titles[row] for row in rows.tolist()], batch_first=True)
                for rows in torch.split(some, 64)
            ]
            embedded = self.embedding(torch.cat([part.flatten() for part in padded]))
            parts = torch.split(embedded, [part.numel() for part in padded])
            for part, same in zip(padded, parts, strict=True):
                pooled.append(self.pooled(same.view(*part.shape, -1).transpose(1, 2)))
        return torch.cat(pooled)[order.argsort()]

    def pooled(self, embedded: Tensor) -> Tensor:
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

    def titles(self, products: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Tensor]:
        views = self.data.views.values[self.data.views.offsets[products]]
        return [torch.from_numpy(self.data.titles[view].astype(np.int64)) for view in views]

    def direction(self, key: list[Tensor], query: list[Tensor], category: Tensor) -> Tensor:
        y = self.online(key)
        q = functional.normalize(self.predict(self.project(y)))
        with torch.no_grad():
            z = functional.normalize(self.project_target(self.target(query)))
        byol = (2 - 2 * (q * z).sum(1)).mean()
        entropy = functional.cross_entropy(self.classify(y), category, ignore_index=-1)
        return 0.9 * byol + 0.1 * entropy

    def step(self, pairs: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
        one, other = self.titles(pairs[:, 0]), self.titles(pairs[:, 1])
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
    # equations 1 to 4 without additions, as in the peer
    settings = preset(
        "default",
        language="en",
        objective="byol",
        alpha=0.1,
        own_category=False,
        token_dropout=0.0,
    )
    journey = load_public_dataset("completejourney")
    catalogue = read_catalogue(journey.products)
    sessions = sessionize(journey.events, journey.gap, product_ids=catalogue.product_ids)
    groceries = TrainingData.prepare(catalogue, sessions, settings)
    # name, data, sessions per step and goal
    cases: list[tuple[str, TrainingData, int, float | None]]
    cases = [("The Complete Journey", groceries, sessions_for(4096, groceries), None)]
    if SHARED.exists():
        shop = open_ecommerce(settings)
        tens = in_tens(shop)
        cases += [
            ("Open e-commerce", shop, sessions_for(4096, shop), 12.0),
            ("sessions of 10", tens, sessions_for(4096, tens), 50.0),
            ("sessions of 10", tens, 400, 50.0),
        ]
    # `train` uses these settings of torch, and the peer is faster with them too
    with faster_torch():
        for source, data, size, goal in cases:
            name = f"{source}, {size} sessions a step"
            ours = replace(settings, batch_size=size)
            trainer = Trainer(data, ours, 10_000, torch.device("cpu"))
            batches = Batches(data, ours)
            against_plain(name, trainer, batches, Plain(data), goal)
        steps(name, trainer, batches)
        parts(name, trainer, batches)
        if not QUICK:
            to_equal_loss("The Complete Journey", groceries, settings)
        in_float32("The Complete Journey", groceries, settings)


def sessions_for(pairs: int, data: TrainingData) -> int:
    """Return the number of sessions that have this many pairs on average."""
    return round(pairs * len(data.sessions) / data.pairs)


def open_ecommerce(settings: Settings) -> TrainingData:
    folder = SHARED / "open_ecommerce"
    catalogue = read_catalogue(folder / "products.parquet")
    events = pl.scan_parquet(folder / "purchases.parquet").select(
        "user", "product_id", timestamp="date"
    )
    # there are dates only: purchases of one day are a session
    sessions = sessionize(events, "1439m", product_ids=catalogue.product_ids)
    return TrainingData.prepare(catalogue, sessions, settings)


def in_tens(data: TrainingData) -> TrainingData:
    """Make sessions of ten products, as in the paper, drawn at random."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(data.category), (len(data.sessions.values) // 10, 10))
    return of_sessions(
        data, Ragged(drawn.ravel().astype(np.int32), np.arange(0, drawn.size + 1, 10))
    )


def of_sessions(data: TrainingData, sessions: Ragged) -> TrainingData:
    return replace(data, sessions=sessions, pair_ends=offsets_of(sessions.pairs))


def against_plain(
    name: str, trainer: Trainer, batches: Batches, plain: Plain, goal: float | None
) -> None:
    """Compare the rates of both trainers."""
    sessions, rng = plain.data.sessions, np.random.default_rng(0)
    chosen = sessions.take(rng.choice(len(sessions), 20_000))
    pairs = [(a, b) for s in chosen for i, a in enumerate(s) for b in s[i + 1 :]]
    shuffled = rng.permutation(np.array(pairs)).astype(np.int64)
    number = iter(range(10**6))

    def ours() -> None:
        for _ in range(5):
            step = next(number)
            trainer.step(batches[step], step)

    per_call = 5 * statistics.mean(batches[step].pairs for step in range(100, 120))
    # each step has other pairs: a title of a thousand pieces makes its batch slow
    parts = cycle(np.split(shuffled, range(PAIRS, len(shuffled), PAIRS))[:-1])
    plain_step = (PAIRS, lambda: plain.step(next(parts)))
    peer = "torch, pair by pair"
    rates = by_turns({OURS: (per_call, ours), peer: plain_step}, ROUNDS)
    compare(f"{name}: training", rates, "pairs/s", {} if goal is None else {peer: goal})


def steps(name: str, trainer: Trainer, batches: Batches) -> None:
    """Measure a step's share of the peak of matrix products, and the time of the paper's epoch."""
    with FlopCounterMode(display=False) as counter:
        trainer.step(batches[0], 0)
    matrix, peaks = torch.randn(4096, 2048), []
    started, pairs = time.perf_counter(), 0
    for step in range(STEPS):
        batch = batches[step]
        trainer.step(batch, step)
        pairs += batch.pairs
    seconds = (time.perf_counter() - started) / STEPS
    for _ in range(20):
        start = time.perf_counter()
        matrix @ matrix[:2048]
        peaks.append(2 * 4096 * 2048 * 2048 / (time.perf_counter() - start))
    peak = statistics.median(peaks)
    done = counter.get_total_flops() / seconds
    record(f"{name}: matrix products", peak / 1e9, "GFLOP/s")
    record(f"{name}: share of the peak over a whole step", done / peak, "", goal=0.5)
    minutes = EPOCH / (pairs / STEPS) * seconds / 60
    record(f"{name}: the paper's epoch", minutes, "minutes", goal=12, at_most=True)


def parts(name: str, trainer: Trainer, batches: Batches) -> None:
    """Measure the milliseconds of each part of a step."""
    started = time.perf_counter()
    made = [batches[step] for step in range(20)]
    record(f"{name}: a step, data", (time.perf_counter() - started) / 20 * 1e3, "ms")
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for step, batch in enumerate(made):
            trainer.step(batch, step)
    groups = {
        "matrix products": ("aten::mm", "aten::addmm"),
        "look-up, forward": ("_LookUp",),
        "look-up, backward": ("_LookUpBackward",),
        "optimiser": ("aten::_fused_adamw_",),
        "moving average": ("aten::_foreach_lerp_",),
        "gradient of the embeddings": ("aten::embedding_dense_backward",),
    }
    took = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    for group, names in groups.items():
        spent = sum(took.pop(key, 0.0) for key in names)
        record(f"{name}: a step, {group}", spent / 20 / 1e3, "ms")
    record(f"{name}: a step, the rest", sum(took.values()) / 20 / 1e3, "ms")


def to_equal_loss(name: str, data: TrainingData, settings: Settings) -> None:
    """Compare the pairs needed to reach the same held-out loss.

    Pairs of a batch are either drawn one by one, as in the peer, or are all pairs of whole
    sessions, which have products in common.
    """
    ways = {
        "sessions": replace(settings, batch_size=sessions_for(4096, data)),
        "pairs": replace(settings, batching="pairs", batch_size=4096),
    }
    curves = {way: np.array(learning_curve(data, ours, STEPS)) for way, ours in ways.items()}
    pairs, reached = curves["sessions"][-1]
    alone = curves["pairs"]
    first = int(np.argmax(alone[:, 1] <= reached)) if (alone[:, 1] <= reached).any() else -1
    record(f"{name}: loss after {STEPS} steps of sessions", reached, "")
    record(f"{name}: loss after {STEPS} steps of single pairs", alone[-1, 1], "")
    record(f"{name}: pairs to equal loss, single / in sessions", alone[first, 0] / pairs, "")


def in_float32(name: str, data: TrainingData, settings: Settings) -> None:
    """Measure how much the losses differ from those of a run in float32."""
    ours = learning_curve(data, settings, STEPS)
    torch.set_float32_matmul_precision("highest")
    exact = learning_curve(data, settings, STEPS)
    torch.set_float32_matmul_precision("medium")
    away = max(abs(a / b - 1) for (_, a), (_, b) in zip(ours, exact, strict=True))
    figure = f"{name}: largest distance of {STEPS} steps' losses from float32's"
    record(figure, away, "of the loss", goal=0.01, at_most=True)


def learning_curve(data: TrainingData, settings: Settings, steps: int) -> list[tuple[int, float]]:
    """Return the number of trained pairs and the loss on held-out sessions, ten times."""
    kept = len(data.sessions) // 100
    part = of_sessions(data, data.sessions.part(kept, len(data.sessions)))
    trainer, batches = Trainer(part, settings, steps, torch.device("cpu")), Batches(part, settings)
    others = data.sessions.part(0, kept)
    held_out = make_batch(data, others, data.views.values[data.views.offsets[others.values]])
    curve, pairs = [], 0
    for step in range(steps):
        batch = batches[step]
        trainer.step(batch, step)
        pairs += batch.pairs
        if (step + 1) % (steps // 10) == 0:
            with torch.no_grad():
                loss = losses(trainer.networks, held_out, settings.alpha, settings.objective)
            curve.append((pairs, loss.total.item()))
    return curve


if __name__ == "__main__":
    main()

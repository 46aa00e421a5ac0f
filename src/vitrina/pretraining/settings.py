"""Everything that decides what is learnt, and the two presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vitrina.errors import InputError
from vitrina.text.normalize import Style

PresetName = Literal["default", "paper"]
Objective = Literal["byol", "simclr", "byol+simclr"]


@dataclass(frozen=True)
class Settings:
    """Settings of one pre-training run; sizes are the paper's (§3.2, A.1).

    Attributes
    ----------
    language : language of the stop words, which only the paper's normalisation removes
    normalization : normalisation, see `vitrina.text.normalize.Normalizer`
    objective : how views are pulled together: "byol"; "simclr", with the batch's other sessions as
        negatives; or "byol+simclr", the sum of both losses
    alpha : weight of that loss; 1 - alpha is that of the category loss (equation 4)
    vocab_size : SentencePiece pieces
    dim, filters : numbers of an embedding; filters of each convolution
    hidden, projection : of projector, predictor and category head
    embedding_std : standard deviation of the embeddings at the start
    optimizer : "adamw", or "sgd" with momentum
    learning_rate : its peak, already scaled to the batch
    weight_decay, momentum : of the optimiser (momentum: SGD only)
    batching : "sessions": a batch is whole sessions with all their pairs; "pairs": random pairs
        over all sessions
    batch_size : sessions or pairs in a batch
    own_category : whether a product also predicts its own category, as if it were its own partner;
        products of the catalogue that no session holds then train too, each a session of one
    token_dropout : share of a title's pieces that a step leaves out, drawn anew for each
    epochs : passes over all pairs
    warmup : share of the steps during which the learning rate rises
    ema_decay : the target network's decay at the start; it rises to 1 at the end
    seed : of weights, batches and sampling
    max_minutes : bound on the whole run; the schedules are planned to end within it
    """

    preset: PresetName = "default"
    language: str | None = None
    normalization: Style = "default"
    objective: Objective = "byol+simclr"
    alpha: float = 0.5
    vocab_size: int = 30_000
    dim: int = 512
    filters: int = 128
    hidden: int = 1025
    projection: int = 128
    embedding_std: float = 0.05
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-5
    momentum: float = 0.9
    batching: Literal["sessions", "pairs"] = "sessions"
    batch_size: int = 256
    own_category: bool = True
    token_dropout: float = 0.3
    epochs: int = 1
    warmup: float = 0.05
    ema_decay: float = 0.996
    seed: int = 0
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        known = get_args(Objective)
        checks = [
            ("objective", self.objective in known, f"one of {', '.join(known)}"),
            ("alpha", 0 <= self.alpha <= 1, "a number from 0 to 1"),
            ("vocab_size", self.vocab_size >= 16, "16 or more"),
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 2, "2 or more"),
            ("token_dropout", 0 <= self.token_dropout < 1, "a number from 0 to less than 1"),
            ("ema_decay", 0 <= self.ema_decay <= 1, "a number from 0 to 1"),
            ("seed", 0 <= self.seed < 2**32, "a whole number from 0 to 2^32 - 1"),
            ("max_minutes", self.max_minutes is None or self.max_minutes > 0, "more than 0"),
        ]
        for name, valid, expected in checks:
            if not valid:
                raise InputError(f"{name}: {getattr(self, name)} should be {expected}")

    def asdict(self) -> dict[str, Any]:
        """As plain values, for files."""
        return dataclasses.asdict(self)


def preset(name: str, **changes: Any) -> Settings:
    """A preset's settings, with the given changes.

    ``"paper"``
        The paper's recipe (A.1; α = 0.9): random pairs over all sessions, 4096 a batch, one epoch,
        SGD with momentum 0.9, weight decay 1e-5, learning rate 0.45 · 4096/256, N(0, 1) embeddings
        (torch's start), BYOL's warm-up (1 % of the steps), and the paper's normalisation.
    ``"default"``
        Whole sessions, AdamW and small embeddings: made for minutes of training, not hours. Small
        batches and a high rate, since a short run has few steps. Own categories and piece dropout
        helped most, a second epoch no more. SimCLR's loss beside BYOL's: its negatives gained as
        much again with few labels (docs/results/ablation.md).
    """
    if name not in get_args(PresetName):
        raise InputError(f"preset: '{name}' is not one of {', '.join(get_args(PresetName))}")
    if name == "default":
        return Settings(**changes)
    paper: dict[str, Any] = {
        "preset": "paper",
        "objective": "byol",
        "alpha": 0.9,
        "normalization": "paper",
        "embedding_std": 1.0,
        "optimizer": "sgd",
        "learning_rate": 0.45 * changes.get("batch_size", 4096) / 256,
        "batching": "pairs",
        "batch_size": 4096,
        "own_category": False,
        "token_dropout": 0.0,
        "epochs": 1,
        "warmup": 0.01,
    }
    return Settings(**{**paper, **changes})

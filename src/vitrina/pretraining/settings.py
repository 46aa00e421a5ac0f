"""The settings of a pre-training run, and the two presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vitrina.errors import InputError
from vitrina.text.normalize import Style
from vitrina.text.word_vectors import MAX_DIM

PresetName = Literal["default", "paper"]
Objective = Literal["byol", "simclr", "byol+simclr"]


@dataclass(frozen=True)
class Settings:
    """Settings of one pre-training run.

    The default sizes of the networks are the paper's (§3.2, A.1).

    Attributes
    ----------
    preset : {"default", "paper"}
        Name of the preset that the other settings started from.
    language : str, optional
        Language of the titles. Only the paper's normalisation removes its stop words.
    normalization : {"default", "paper"}
        How titles are normalised, see `vitrina.text.normalize.Normalizer`.
    objective : {"byol", "simclr", "byol+simclr"}
        Loss that pulls the products of a session together: BYOL's; SimCLR's, with the batch's
        other sessions as negatives; or the sum of both.
    alpha : float
        Weight of that loss, from 0 to 1. The category loss has weight 1 - alpha (equation 4).
    vocab_size : int
        Number of SentencePiece pieces in the tokenizer's vocabulary.
    dim : int
        Dimension of a piece's embedding.
    filters : int
        Filters of each convolution. The contextual part of a title's vector has 4 · `filters`
        dimensions.
    lexical_dim : int
        Dimensions of the lexical part of a title's vector; 0 for none, as in the paper.
    hidden : int
        Hidden units of the projector, the predictor and the category head.
    projection : int
        Output dimension of the projector and the predictor.
    embedding_std : float
        Standard deviation of the initial embeddings.
    optimizer : {"adamw", "lars"}
        Optimiser. LARS is BYOL's: SGD with momentum, whose step for each matrix is in proportion
        to the matrix's norm.
    learning_rate : float
        Peak learning rate, already scaled to the batch size.
    weight_decay : float
        Weight decay of the optimiser.
    momentum : float
        Momentum of LARS; AdamW ignores it.
    batching : {"sessions", "pairs"}
        "sessions": a batch is whole sessions with all their pairs. "pairs": a batch is random
        pairs from all sessions.
    batch_size : int
        Sessions or pairs in a batch.
    own_category : bool
        Whether a product also predicts its own category, as if it were its own partner. Products
        of the catalogue that are in no session then train too, each as a session of one.
    token_dropout : float
        Share of a title's pieces that are dropped, redrawn at each step.
    epochs : int, optional
        Passes over all pairs. By default the data decides: small data is passed over several times,
        see `vitrina.pretraining.plan.planned_epochs`.
    warmup : float
        Share of the steps during which the learning rate rises.
    ema_decay : float
        Initial decay τ of the target network's moving average; it rises to 1 at the end.
    seed : int
        Random seed for initialisation, batching and sampling.
    max_steps : int, optional
        Stop after this many steps; the schedules end with them. Has no effect if the epochs have
        fewer steps.
    max_minutes : float, optional
        Time limit of the whole run, in minutes. Without `max_steps`, the run estimates how many
        steps fit and the schedules end with them. With `max_steps`, training just ends early when
        the time is up.
    teacher : str, optional
        A sentence transformer, as a folder or a name on the Hugging Face hub. The encoder then also
        learns to predict its vectors of the titles (docs/teacher.md).
    teacher_minutes : float
        Time in which the teacher may compute these vectors, in minutes. It gets at most half of
        `max_minutes`. Has no effect without `teacher`.
    """

    preset: PresetName = "default"
    language: str | None = None
    normalization: Style = "default"
    objective: Objective = "byol+simclr"
    alpha: float = 0.5
    vocab_size: int = 30_000
    dim: int = 512
    filters: int = 128
    lexical_dim: int = 512
    hidden: int = 1025
    projection: int = 128
    embedding_std: float = 0.05
    optimizer: Literal["adamw", "lars"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-5
    momentum: float = 0.9
    batching: Literal["sessions", "pairs"] = "sessions"
    batch_size: int = 256
    own_category: bool = True
    token_dropout: float = 0.3
    epochs: int | None = None
    warmup: float = 0.05
    ema_decay: float = 0.996
    seed: int = 0
    max_steps: int | None = None
    max_minutes: float | None = None
    teacher: str | None = None
    teacher_minutes: float = 8.0

    def __post_init__(self) -> None:
        objectives = get_args(Objective)
        checks = [
            ("objective", self.objective in objectives, f"one of {', '.join(objectives)}"),
            ("alpha", 0 <= self.alpha <= 1, "a number from 0 to 1"),
            ("vocab_size", self.vocab_size >= 16, "16 or more"),
            ("lexical_dim", 0 <= self.lexical_dim <= MAX_DIM, f"from 0 to {MAX_DIM:,}"),
            ("epochs", self.epochs is None or self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 2, "2 or more"),
            ("token_dropout", 0 <= self.token_dropout < 1, "a number from 0 to less than 1"),
            ("ema_decay", 0 <= self.ema_decay <= 1, "a number from 0 to 1"),
            ("seed", 0 <= self.seed < 2**32, "a whole number from 0 to 2^32 - 1"),
            ("max_steps", self.max_steps is None or self.max_steps >= 1, "1 or more"),
            ("max_minutes", self.max_minutes is None or self.max_minutes > 0, "more than 0"),
            ("teacher_minutes", self.teacher_minutes > 0, "more than 0"),
        ]
        for name, valid, expected in checks:
            if not valid:
                raise InputError(f"`{name}` is {getattr(self, name)}; it must be {expected}")

    def asdict(self) -> dict[str, Any]:
        """Return the settings as a dictionary of plain values, for JSON files."""
        return dataclasses.asdict(self)


def preset(name: str, **changes: Any) -> Settings:
    """Return the settings of a preset, with the given changes.

    Parameters
    ----------
    name : {"default", "paper"}
        ``"paper"`` is the paper's recipe (A.1; α = 0.9): random pairs from all sessions in batches
        of 4096, one epoch, BYOL's optimiser (LARS: SGD with momentum 0.9), weight decay 1e-5,
        learning rate 0.45 · 4096/256, N(0, 1) embeddings (torch's default), BYOL's warm-up (1 % of
        the steps), the paper's normalisation, and vectors without a lexical part.

        ``"default"`` is made for minutes of training instead of hours: whole sessions, AdamW and
        small initial embeddings. Batches are small and the learning rate is high because a short
        run has few steps. Own categories and piece dropout helped most; a second epoch gained
        nothing more. SimCLR's loss is added to BYOL's: with few labels, its negatives gained as
        much again (docs/results/ablation.md).
    **changes : Any
        Settings that differ from the preset, by name.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        If the preset is unknown or a setting is out of range.
    """
    if name not in get_args(PresetName):
        raise InputError(
            f"`preset` is '{name}'; it must be one of {', '.join(get_args(PresetName))}"
        )
    if name == "default":
        return Settings(**changes)
    paper: dict[str, Any] = {
        "preset": "paper",
        "objective": "byol",
        "alpha": 0.9,
        "normalization": "paper",
        "lexical_dim": 0,
        "embedding_std": 1.0,
        "optimizer": "lars",
        # BYOL's rule: the learning rate grows in proportion to the batch
        "learning_rate": 0.45 * changes.get("batch_size", 4096) / 256,
        "batching": "pairs",
        "batch_size": 4096,
        "own_category": False,
        "token_dropout": 0.0,
        "epochs": 1,
        "warmup": 0.01,
    }
    return Settings(**{**paper, **changes})

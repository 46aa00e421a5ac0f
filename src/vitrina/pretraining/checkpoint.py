"""Checkpoints of a training run: one file that is replaced as a whole."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitrina.files import atomic_path

_SECONDS_BETWEEN_CHECKPOINTS = 120.0


@dataclass
class RunState:
    """Where a run stands after a step.

    Attributes
    ----------
    steps : int
        Steps after which the run ends: those planned, or those done once the time was up.
    step : int
        Steps done.
    pairs : int
        Pairs trained on.
    seconds : float
        Time spent, preparation included, in seconds.
    log_bytes : int
        Size of the log file at the last checkpoint, in bytes.
    record : dict
        Last record of the log; empty before the first.
    initial_std : float, optional
        `representation_std` of the first record.
    """

    steps: int
    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    log_bytes: int = 0
    record: dict[str, Any] = field(default_factory=dict)
    initial_std: float | None = None


class Checkpointer:
    """Saves and restores everything that the next step depends on.

    Parameters
    ----------
    path : Path
        File of the checkpoint.
    networks : Module
        Online and target networks.
    optimizer : Optimizer
    """

    def __init__(self, path: Path, networks: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._path = path
        self._networks = networks
        self._optimizer = optimizer
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Whether the last checkpoint is so old that another should be saved."""
        return time.monotonic() - self._saved_at > _SECONDS_BETWEEN_CHECKPOINTS

    def save(self, state: RunState) -> None:
        """Write the checkpoint, or replace it.

        Raises
        ------
        InputError
            If the file can't be written.
        """
        tensors = {}
        for name, value in self._networks.state_dict().items():
            tensors[f"networks.{name}"] = value
        for index, values in self._optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):  # SGD keeps None before its first step
                    tensors[f"optimizer.{index}.{name}"] = value
        # safetensors refuses tensors with gaps in memory
        contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
        with atomic_path(self._path) as temporary:
            save_file(contiguous, temporary, {"state": json.dumps(asdict(state))})
        self._saved_at = time.monotonic()

    def load(self) -> RunState:
        """Restore networks and optimiser, and return the state that was saved with them."""
        weights: dict[str, Tensor] = {}
        optimizer_states: dict[int, dict[str, Tensor]] = {}
        with safe_open(self._path, "pt") as file:
            state = RunState(**json.loads(file.metadata()["state"]))
            for key in file.keys():  # noqa: SIM118 (not a dict)
                part, _, rest = key.partition(".")
                if part == "networks":
                    weights[rest] = file.get_tensor(key)
                else:
                    index, _, name = rest.partition(".")
                    optimizer_states.setdefault(int(index), {})[name] = file.get_tensor(key)
        self._networks.load_state_dict(weights)
        # the file has no options of the optimiser: they come from the settings
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": optimizer_states, "param_groups": groups})
        return state

"""Checkpoints of a training run: one file that is replaced as a whole."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitrina.errors import InputError
from vitrina.files import atomic_path
from vitrina.pretraining.stored import damaged, map_file
from vitrina.sealed import MIB
from vitrina.untrusted import ArraySpec, parse_arrays, parse_header, parse_json

_SECONDS_BETWEEN_CHECKPOINTS = 120.0
_HEADER_BYTES = MIB  # at most, beside the tensors
_LONGEST_REASON = 200


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

    def load(self, steps: int) -> RunState:
        """Restore networks and optimiser, and return the state that was saved with them.

        Parameters
        ----------
        steps : int
            Steps that the run was planned for.

        Raises
        ------
        InputError
            If the file is damaged: not a regular one, not of these networks and this optimiser, or
            with numbers that are not finite.
        """
        tensors, text = self._read()
        state = self._parse_state(text, steps)
        weights: dict[str, Tensor] = {}
        optimizer_states: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            part, _, rest = key.partition(".")
            if part == "networks":
                weights[rest] = tensor
            else:
                index, _, name = rest.partition(".")
                optimizer_states.setdefault(int(index), {})[name] = tensor
        self._networks.load_state_dict(weights)
        # the file has no options of the optimiser: they come from the settings
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": optimizer_states, "param_groups": groups})
        return state

    def _read(self) -> tuple[dict[str, Tensor], str]:
        """Read the file and check its tensors. Returns them by name, and the state as JSON."""
        groups = self._expected_shapes()
        shapes = {name: shape for group in groups for name, shape in group.items()}
        size = sum(4 * math.prod(shape) for shape in shapes.values())
        content = map_file(self._path, size + _HEADER_BYTES)
        try:
            header = parse_header(content)
            specs: dict[str, ArraySpec] = {}
            for group in groups:
                # the optimiser has no tensors of a parameter before its first gradient
                if group is groups[0] or group.keys() & header.entries.keys():
                    specs |= {name: _spec(shape) for name, shape in group.items()}
            arrays = parse_arrays(content, specs)
        except ValueError as error:
            raise damaged(self._path, str(error)[:_LONGEST_REASON]) from None
        state = header.metadata.get("state") if isinstance(header.metadata, dict) else None
        if not isinstance(state, str):
            raise damaged(self._path, "it has not the state of this run")
        # copied, because the views of the file can't be written to
        return {name: torch.tensor(array) for name, array in arrays.items()}, state

    def _expected_shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """Shapes of tensors by name: those of the networks, then the optimiser's by parameter."""
        networks = {}
        for name, value in self._networks.state_dict().items():
            networks[f"networks.{name}"] = tuple(value.shape)
        groups = [networks]
        trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        for index, parameter in enumerate(trained):
            shape = tuple(parameter.shape)
            if isinstance(self._optimizer, torch.optim.SGD):
                tensors: dict[str, tuple[int, ...]] = {"momentum_buffer": shape}
            else:
                tensors = {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
            groups.append({f"optimizer.{index}.{name}": tensors[name] for name in tensors})
        return groups

    def _parse_state(self, text: str, steps: int) -> RunState:
        """Read and check the state of the run, saved as JSON."""
        try:
            content = parse_json(text.encode(), self._path)
        except InputError:
            content = {}
        is_state = (
            content.keys() == {field.name for field in fields(RunState)}
            and all(type(content[name]) is int for name in ("steps", "step", "pairs", "log_bytes"))
            and all(_is_number(content[name]) for name in ("pairs", "log_bytes", "seconds"))
            and isinstance(content["record"], dict)
            and all(
                figure is None or _is_figure(figure)
                for figure in (content["initial_std"], *content["record"].values())
            )
            and 1 <= content["step"] <= content["steps"] <= steps
        )
        if not is_state:
            raise damaged(self._path, "it has not the state of this run")
        return RunState(**content)


def _spec(shape: tuple[int, ...]) -> ArraySpec:
    """What a tensor must be: of finite numbers."""
    largest = float(np.finfo(np.float32).max)
    return ArraySpec(np.float32, shape, -largest, largest)


def _is_number(value: Any) -> bool:
    """Whether a value from JSON is a number from 0 to 2^63, and not an infinity or NaN."""
    return type(value) in (int, float) and 0 <= value < 2**63


def _is_figure(value: Any) -> bool:
    """Whether a value from JSON is a figure of a record: a float, also NaN, or a whole number."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)

"""Where a run stands, in one file that is replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitrina.files import atomic_path


def save_checkpoint(
    path: Path, networks: nn.Module, optimizer: torch.optim.Optimizer, position: dict[str, Any]
) -> None:
    """Write all that the next step depends on: networks, target, optimiser, position."""
    tensors = {f"networks.{name}": value for name, value in networks.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):  # SGD keeps None before its first step
                tensors[f"optimizer.{index}.{name}"] = value
    with atomic_path(path) as temporary:
        contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
        save_file(contiguous, temporary, {"position": json.dumps(position)})


def load_checkpoint(
    path: Path, networks: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put networks and optimiser back as they were; returns the position."""
    states: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    with safe_open(path, "pt") as file:
        position: dict[str, Any] = json.loads(file.metadata()["position"])
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, _, rest = key.partition(".")
            if part == "networks":
                weights[rest] = file.get_tensor(key)
            else:
                index, _, name = rest.partition(".")
                states.setdefault(int(index), {})[name] = file.get_tensor(key)
    networks.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    return position

"""BYOL's optimiser."""

from collections.abc import Iterable

import torch
from torch import Tensor

TRUST = 1e-3


class Lars(torch.optim.SGD):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888), as BYOL uses it.

    SGD with momentum; before it, the gradient g of each matrix w becomes

        0.001 · ‖w‖ / ‖g + decay · w‖ · (g + decay · w)

    Biases and batch norms, which have one dimension, keep their gradient and have no weight decay
    (Grill et al. 2020, arXiv 2006.07733, §3.3). The learning rate is set before each step.

    Parameters
    ----------
    parameters : iterable of Tensor
    momentum : float
    decay : float
        Weight decay of the matrices.
    """

    def __init__(self, parameters: Iterable[Tensor], momentum: float, decay: float) -> None:
        super().__init__(parameters, momentum=momentum)
        self.decay = decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Scale the gradients in place, then do SGD's step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None or parameter.ndim < 2:
                    continue
                gradient = parameter.grad.add_(parameter, alpha=self.decay)
                norms = parameter.norm(), gradient.norm()
                # zero weights or gradients have no direction to scale
                if norms[0] > 0 and norms[1] > 0:
                    gradient.mul_(TRUST * norms[0] / norms[1])
        super().step(closure)

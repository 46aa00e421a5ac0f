import numpy as np
import torch

from vitrina.pretraining.lars import Lars


def test_three_steps_follow_the_equations() -> None:
    """Equations 1 to 5 of You et al. 2017 for matrices; SGD with momentum for vectors."""
    generator = np.random.default_rng(0)
    shapes = [(5, 3), (4, 3, 2), (6,)]
    weights = [generator.normal(size=shape) for shape in shapes]
    momenta = [np.zeros(shape) for shape in shapes]
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    optimizer = Lars(parameters, momentum=0.9, decay=0.01)
    for rate in (0.5, 7.2, 3.0):
        gradients = [generator.normal(size=shape) for shape in shapes]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        for index, gradient in enumerate(gradients):
            if weights[index].ndim > 1:
                decayed = gradient + 0.01 * weights[index]
                gradient = 1e-3 * np.linalg.norm(weights[index]) / np.linalg.norm(decayed) * decayed
            momenta[index] = 0.9 * momenta[index] + gradient
            weights[index] = weights[index] - rate * momenta[index]
    for parameter, weight in zip(parameters, weights, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12)


def test_weights_of_zero_leave_zero() -> None:
    """The ratio of the norms would be 0 for ever; the gradient is taken as it is."""
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    optimizer = Lars([parameter], momentum=0.9, decay=1e-5)
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    torch.testing.assert_close(parameter.data, torch.full((2, 2), -0.1))

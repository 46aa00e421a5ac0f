"""Distillation: the loss against its definition, title by title, and what it changes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from vitrina.encoder.weights import initial_weights
from vitrina.pretraining.batches import Batches
from vitrina.pretraining.dataset import TrainingData
from vitrina.pretraining.distillation import TeacherTargets, sampled_rows
from vitrina.pretraining.networks import Networks
from vitrina.pretraining.objective import TEACHER_WEIGHT, losses
from vitrina.pretraining.settings import Settings
from vitrina.pretraining.trainer import Trainer
from vitrina.ragged import Ragged

CPU = torch.device("cpu")


def small_targets(data: TrainingData, settings: Settings) -> TeacherTargets:
    """Targets of 50 titles."""
    rows = sampled_rows(len(data.titles), 0)[:50]
    return TeacherTargets(data, settings, rows, teacher_vectors(data), {})


def teacher_vectors(data: TrainingData) -> np.ndarray:
    """A teacher's vectors of these titles: sums over the pieces, and a large part in common."""
    of_pieces = np.random.default_rng(1).standard_normal((len(data.tokenizer), 6), np.float32)
    titles = data.titles.take(sampled_rows(len(data.titles), 0)[:50])
    return np.stack([of_pieces[title].sum(0) + np.float32(20) for title in titles])


def naive_partners(data: TrainingData) -> list[float]:
    """Ordered pairs in which each of these titles is, counted session by session."""
    count = [0.0] * len(data.titles)
    for session in data.sessions:
        for product in session:
            for view in data.views[product]:
                count[view] += (len(session) - 1) / len(data.views[product])
    return [count[row] for row in sampled_rows(len(data.titles), 0)[:50]]


def test_the_loss_is_one_minus_the_cosine_with_the_centred_vector(
    data: TrainingData, small_sizes: dict[str, Any]
) -> None:
    settings = Settings(token_dropout=0.0, batch_size=16, **small_sizes)
    targets = small_targets(data, settings)
    start = initial_weights(data.tokenizer, dim=16, filters=4, embedding_std=0.5)
    networks = Networks(settings, start, len(data.categories), targets.dimension)
    batch = Batches(data, settings)[0]
    found = losses(networks, batch, 0.5, "byol", targets[0])

    # the same, title by title: the frozen encoder's y, and the vectors as the teacher gave them
    vectors = teacher_vectors(data)
    partners = naive_partners(data)
    titles = data.titles.take(sampled_rows(len(data.titles), 0)[:50])
    expected = []
    for row in range(50):
        pieces = torch.from_numpy(titles[row].astype(np.int64))
        y = networks.encoder(pieces, Ragged.from_lists([range(len(pieces))]))
        predicted = networks.teacher_head.weight @ y[0] + networks.teacher_head.bias
        target = torch.from_numpy(vectors[row] - vectors.mean(0))
        distance = 1 - functional.cosine_similarity(predicted, target, dim=0).item()
        expected.append(distance * 3 / (3 + partners[row]))
    assert found.distillation.item() == pytest.approx(np.mean(expected), rel=1e-4)

    without = losses(networks, batch, 0.5, "byol")
    assert without.distillation == 0
    difference = TEACHER_WEIGHT * found.distillation.item()
    assert found.total.item() == pytest.approx(without.total.item() + difference, rel=1e-5)


def test_the_gradient_of_the_loss_reaches_the_encoder(
    data: TrainingData, small_sizes: dict[str, Any]
) -> None:
    settings = Settings(batch_size=16, learning_rate=0.02, token_dropout=0.0, **small_sizes)
    targets = small_targets(data, settings)
    trainer = Trainer(data, settings, 60, CPU, targets)
    encoder = [*trainer.networks.encoder.parameters()]
    batches = Batches(data, settings)
    gradients = []
    for teacher_batch in (targets[0], None):
        loss = losses(trainer.networks, batches[0], 0.5, "byol", teacher_batch).total
        gradients.append(torch.autograd.grad(loss, encoder))
    for with_teacher, plain in zip(*gradients, strict=True):
        assert not torch.allclose(with_teacher, plain)

    few = [batches[0], batches[1]]  # few shapes: each new one costs a compiled kernel
    found = [trainer.step(few[n % 2], n).distillation for n in range(60)]
    # nothing is known at the start: the cosine is 0
    assert found[0] == pytest.approx(float(targets.weights.mean()), rel=0.3)
    assert found[-1] < 0.5 * found[0]


def test_other_networks_start_as_without_a_teacher(
    data: TrainingData, small_sizes: dict[str, Any]
) -> None:
    settings = Settings(**small_sizes)
    start = initial_weights(data.tokenizer, dim=16, filters=4)
    plain = Networks(settings, start, 12).state_dict()
    with_teacher = Networks(settings, start, 12, 5).state_dict()
    assert with_teacher.keys() - plain.keys() == {"teacher_head.weight", "teacher_head.bias"}
    for name, value in plain.items():
        assert torch.equal(value, with_teacher[name])

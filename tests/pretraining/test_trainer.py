from itertools import pairwise

import pytest

from vitrina.errors import InputError
from vitrina.pretraining.settings import preset
from vitrina.pretraining.trainer import ema_decay, learning_rate


def test_learning_rate_rises_then_follows_the_cosine() -> None:
    settings = preset("default", learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001


def test_target_decay_goes_from_tau_to_one() -> None:
    settings = preset("default", ema_decay=0.9)
    assert ema_decay(settings, 0, 100) == pytest.approx(0.9)
    assert ema_decay(settings, 50, 100) == pytest.approx(0.95)
    assert ema_decay(settings, 100, 100) == pytest.approx(1)


def test_the_paper_preset_is_the_papers() -> None:
    paper = preset("paper")
    assert (paper.optimizer, paper.momentum, paper.weight_decay) == ("lars", 0.9, 1e-5)
    assert (paper.batching, paper.batch_size, paper.epochs) == ("pairs", 4096, 1)
    assert paper.learning_rate == pytest.approx(0.45 * 16)
    assert preset("paper", batch_size=1024).learning_rate == pytest.approx(0.45 * 4)
    assert (paper.vocab_size, paper.dim, paper.filters) == (30_000, 512, 128)
    assert paper.lexical_dim == 0
    assert (paper.hidden, paper.projection, paper.ema_decay, paper.alpha) == (1025, 128, 0.996, 0.9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 1.5), ("alpha", -0.1), ("epochs", 0), ("max_steps", 0), ("max_minutes", 0.0)],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        preset("default", **{name: value})
    with pytest.raises(InputError, match="preset"):
        preset("fast")

"""BYOL's schedules, as functions of the step (Grill et al. 2020, §3.2-3.3; paper A.1)."""

from math import cos, pi

from vitrina.pretraining.settings import Settings


def learning_rate(settings: Settings, step: int, steps: int) -> float:
    """Rate of step `step` (0-based) of `steps`: a linear rise, then a cosine down to 0."""
    rise = max(1, round(settings.warmup * steps))
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    return settings.learning_rate * (1 + cos(pi * (step - rise) / max(1, steps - rise))) / 2


def target_decay(settings: Settings, step: int, steps: int) -> float:
    """τ after step `step` of `steps`: 1 - (1 - τ₀)(cos(πk/K) + 1)/2, from τ₀ up to 1."""
    return 1 - (1 - settings.tau) * (cos(pi * step / steps) + 1) / 2

"""Sentences that say what the figures of a comparison show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import polars as pl

NAMES = {"auc": "AUC", "r2": "R²", "accuracy": "accuracy", "mae": "MAE"}
"""The metrics as people read them."""
WORDS = ("bag of words", "TF-IDF")
"""The models that count words alone: they need no pre-training, so a tie is theirs."""


def sentence(summary: pl.DataFrame, differences: pl.DataFrame, encoder: str) -> str:
    """Who wins where, in one sentence that the figures alone make.

    Parameters
    ----------
    summary : rows of `summarise` of one task, split, part and its primary metric, or of `mean_auc`
    differences : rows of `differences` of the same
    encoder : name of the model that the others are compared with

    Returns
    -------
    who has the highest mean at which sizes; how far the encoder is from the best other model at
    its smallest and largest size; which models it beats, or loses to, wherever both were run
    (how many, where they are more than four); and whether counting words is enough, because the
    encoder is clearly better at no size.
    Differences whose interval includes 0 are called unclear.
    """
    metric = NAMES[summary["metric"][0]]
    parts = [_leaders(summary, metric)]
    if encoder not in summary["model"]:
        return f"{parts[0]}; {encoder} was not run."
    if differences.is_empty():
        return f"{parts[0]}; nothing to compare {encoder} with."
    columns = differences.select("model", "size", "difference", "low", "high")
    gaps = {(model, size): gap for model, size, *gap in columns.iter_rows()}
    sizes = sorted({size for _, size in gaps})
    told: dict[tuple[str, int], str] = {}
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        # the best other model: the encoder is ahead of it by least
        _, rival = min((gap[0], model) for (model, at), gap in gaps.items() if at == size)
        name = "it" if (rival, sizes[0]) in told else rival
        told[rival, size] = _gap(name, size, *gaps[rival, size], first=not told)
    parts.append(f"{encoder} is {' and '.join(told.values())}")
    verdicts: dict[str, set[int]] = {}
    for (model, _), (_, low, high) in gaps.items():
        if not all((model, at) in told for at in sizes if (model, at) in gaps):
            verdicts.setdefault(model, set()).add(_verdict(low, high))
    always = [
        f"clearly {word} {_listed(models) if len(models) <= 4 else f'{len(models)} others'}"
        for word, sign in (("ahead of", 1), ("behind", -1))
        if (models := [model for model, signs in verdicts.items() if signs == {sign}])
    ]
    several = len(sizes) > 1
    if always:
        parts.append(f"it is {' and '.join(always)}{' at every size both were run with' * several}")
    if rest := sum(len(signs) > 1 or signs == {0} for signs in verdicts.values()):
        others = f"{rest} {'more' if always else 'other' + 's' * (rest > 1)}"
        parts.append(f"against {others} it {'depends on the size or ' * several}is unclear")
    every = [(model, _verdict(low, high)) for (model, _), (_, low, high) in gaps.items()]
    enough = [
        name for name in WORDS if max((sign for m, sign in every if m == name), default=1) <= 0
    ]
    if enough:
        better = f"{encoder} is clearly better at no size"
        parts.append(
            f"{_listed(enough)} {'is' if len(enough) == 1 else 'are'} enough here: {better}"
        )
    if differences["samples"].max() == 1:
        parts.append("one subsample a size, so how much its draw matters is unknown")
    return "; ".join(parts) + "."


def _leaders(summary: pl.DataFrame, metric: str) -> str:
    """Runs of sizes with the model that has the highest mean there."""
    best = [
        (size, *part.sort("mean", descending=True, maintain_order=True)["model", "mean"].row(0))
        for (size,), part in summary.sort("size", maintain_order=True).group_by(
            "size", maintain_order=True
        )
    ]
    alone = summary["model"].n_unique() == 1
    told = []
    for leader, run in groupby(best, key=lambda row: row[1]):
        sizes, means = zip(*((size, mean) for size, _, mean in run), strict=True)
        figures = " to ".join(f"{mean:.3f}" for mean in dict.fromkeys((means[0], means[-1])))
        if len(sizes) == 1:
            where = f"at {sizes[0]:,} labels"
        elif len(sizes) == len(best):
            where = "at all sizes"
        else:
            where = f"from {sizes[0]:,} to {sizes[-1]:,} labels"
        told.append(f"{leader} {'alone' if alone else 'leads'} {where} ({metric} {figures})")
    return _listed(told)


def _gap(other: str, size: int, difference: float, low: float, high: float, *, first: bool) -> str:
    """One difference, encoder minus other, in words."""
    sign = _verdict(low, high)
    if sign < 0:
        difference, low, high = -difference, -high, -low
    bounds = f"{low:.3f} to {high:.3f}".replace("-", "−")
    interval = f"at {size:,} labels ({'95 % interval ' * first}{bounds})"
    if not sign:
        return f"not clearly different from {other} {interval}"
    return f"{difference:.3f} {'ahead of' if sign > 0 else 'behind'} {other} {interval}"


def _verdict(low: float, high: float) -> int:
    """1 and -1: clearly above and below 0; 0: unclear."""
    return int(low > 0) - int(high < 0)


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))

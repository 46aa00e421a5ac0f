"""Plain sentences that describe the results of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import polars as pl

NAMES = {
    "auc": "AUC",
    "r2": "R²",
    "accuracy": "accuracy",
    "average_precision": "average precision",
    "precision_at_k": "precision at k",
    "mae": "MAE",
}
"""Display names of the metrics."""
NGRAMS = "TF-IDF of n-grams"
"""The model that counts words and character n-grams."""
WORDS = ("bag of words", "TF-IDF", NGRAMS)
"""Models that only count words or n-grams. They need no pre-training, so a tie counts for them."""

_MOST_NAMES = 4  # a longer list of models is replaced by their number


class _Gap(NamedTuple):
    """Encoder minus another model at one size, with its 95 % interval."""

    model: str
    size: int
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1 if the encoder is clearly better, -1 if clearly worse, 0 if the interval includes 0."""
        if self.low > 0:
            return 1
        if self.high < 0:
            return -1
        return 0


def describe(summary: pl.DataFrame, differences: pl.DataFrame, encoder: str | None) -> str:
    """Describe who leads, by how much, and which models the encoder clearly beats.

    A difference is clear, or significant, if its 95 % interval excludes 0.

    Parameters
    ----------
    summary : DataFrame
        Rows of `summarise` for one task, split, part and its primary metric, or of `mean_auc`.
    differences : DataFrame
        Rows of `differences` for the same.
    encoder : str or None
        Name of the model that the others are compared with; None only states who leads.

    Returns
    -------
    str
        Sentences that state which model has the highest mean at which sizes; the gap between the
        encoder and the best other model at the smallest and the largest size; which of the
        remaining models it clearly beats, or loses to, at every size; and, if the encoder does not
        clearly beat a model that only counts words or n-grams at any size, that counting them is
        enough.
    """
    sentences = [_leaders(summary)]
    if encoder is None:
        return sentences[0]
    if encoder not in summary["model"]:
        sentences.append(f"{encoder} has no results here.")
        return " ".join(sentences)
    if differences.is_empty():
        sentences.append(f"There is no other model to compare {encoder} with.")
        return " ".join(sentences)

    gaps = _gaps_of(differences)
    best = _best_rivals(gaps)
    sentences += [_gap_sentence(gap, encoder) for gap in best]
    sentences += _verdict_sentences(gaps, best, encoder)
    sentences += _word_sentences(gaps, encoder)
    if differences["samples"].max() == 1:
        sentences.append("Each size has one subsample only, so the effect of its draw is unknown.")
    return " ".join(sentences)


def describe_best(differences: pl.DataFrame, encoder: str, rivals: str) -> str:
    """Describe the gap between the encoder and the best model of another kind.

    Parameters
    ----------
    differences : DataFrame
        Rows of `differences` with the models of that kind, for one task, split and part.
    encoder : str
        Name of the model that the others are compared with.
    rivals : str
        What a model of that kind is called, in the singular.

    Returns
    -------
    str
        A sentence for the smallest size and one for the largest; "" if there are no rows.
    """
    if differences.is_empty():
        return ""
    best = _best_rivals(_gaps_of(differences))
    return " ".join(_gap_sentence(gap, encoder, rivals) for gap in best)


def _gaps_of(differences: pl.DataFrame) -> list[_Gap]:
    # the fields of a gap are columns of the differences
    columns = differences.select(_Gap._fields)
    return [_Gap(*row) for row in columns.iter_rows()]


def _leaders(summary: pl.DataFrame) -> str:
    """State which model has the highest mean, for each run of sizes with the same leader."""
    # the leader of each size; of models with the same mean, the first in the table
    leaders: list[dict[str, Any]] = []
    ascending = summary.sort("size", maintain_order=True)
    for _, rows in ascending.group_by("size", maintain_order=True):
        ranked = rows.sort("mean", descending=True, maintain_order=True)
        leaders.append(ranked.row(0, named=True))

    # neighbouring sizes with the same leader share a clause
    clauses: list[str] = []
    metric = NAMES[summary["metric"][0]]
    alone = summary["model"].n_unique() == 1
    for leader, group in groupby(leaders, key=lambda row: row["model"]):
        run = list(group)
        covers_all = 1 < len(run) == len(leaders)
        where = "at all sizes" if covers_all else _range_of(run)
        where += f" ({metric} {_figures(run)})"
        if alone:
            return f"Only {leader} was run, {where}."
        verb = "" if clauses else " leads"
        clauses.append(f"{leader}{verb} {where}")
    return f"{_listed(clauses)}."


def _range_of(run: Sequence[Mapping[str, Any]]) -> str:
    first = run[0]["size"]
    last = run[-1]["size"]
    if first == last:
        return f"at {first:,} labels"
    return f"from {first:,} to {last:,} labels"


def _figures(run: Sequence[Mapping[str, Any]]) -> str:
    first = run[0]["mean"]
    last = run[-1]["mean"]
    if first == last:
        return f"{first:.3f}"
    return f"{first:.3f} to {last:.3f}"


def _best_rivals(gaps: Sequence[_Gap]) -> list[_Gap]:
    """Return the gaps to the best other model, at the smallest size and at the largest."""
    sizes = [gap.size for gap in gaps]
    ends = {min(sizes), max(sizes)}  # one size, if there is only one
    best = []
    for size in sorted(ends):
        here = [gap for gap in gaps if gap.size == size]
        # the encoder's lead over the best other model is the smallest
        best.append(min(here, key=lambda gap: (gap.difference, gap.model)))
    return best


def _gap_sentence(gap: _Gap, encoder: str, rivals: str = "other model") -> str:
    """State the gap between the encoder and its best rival at one size."""
    # a gap is written as a positive number, so the interval of a negative one changes its signs
    if gap.difference < 0:
        low, high = -gap.high, -gap.low
    else:
        low, high = gap.low, gap.high
    amount = f"{abs(gap.difference):.3f}"
    if amount == "0.000":
        position = "level with it"
    elif gap.difference > 0:
        position = f"{amount} ahead"
    else:
        position = f"{amount} behind"
    interval = f"95 % interval {low:.3f} to {high:.3f}".replace("-", "−")
    if gap.verdict == 0:
        interval += ", not significant"
    return (
        f"At {gap.size:,} labels, the best {rivals} is {gap.model}: "
        f"{encoder} is {position} ({interval})."
    )


def _verdict_sentences(gaps: Sequence[_Gap], stated: Sequence[_Gap], encoder: str) -> list[str]:
    """State which models the encoder clearly beats or loses to at every size they share.

    Models whose gaps are all stated already are left out.
    """
    # the verdicts of each remaining model over the sizes
    remaining = {gap.model for gap in gaps if gap not in stated}
    verdicts: dict[str, set[int]] = {}
    for gap in gaps:
        if gap.model in remaining:
            verdicts.setdefault(gap.model, set()).add(gap.verdict)
    sizes = {gap.size for gap in gaps}
    several = len(sizes) > 1

    # models with the same clear verdict at all sizes
    sentences = []
    for verb, sign in (("beats", 1), ("loses to", -1)):
        models = [model for model, signs in verdicts.items() if signs == {sign}]
        if not models:
            continue
        names = _listed(models) if len(models) <= _MOST_NAMES else f"{len(models)} other models"
        where = " at every size that both were run with" if several else ""
        sentences.append(f"{encoder} clearly {verb} {names}{where}.")

    # all other models: the verdict differs between sizes, or is unclear
    mixed = sum(signs not in ({1}, {-1}) for signs in verdicts.values())
    if mixed:
        noun = "model" if mixed == 1 else "models"
        if several:
            outcome = "the outcome depends on the size or is not significant"
        else:
            outcome = "the difference is not significant"
        sentences.append(f"Against {mixed} other {noun}, {outcome}.")
    return sentences


def _word_sentences(gaps: Sequence[_Gap], encoder: str) -> list[str]:
    """State that counting is enough, if the encoder never clearly beats a model of `WORDS`."""
    enough = []
    for model in WORDS:
        verdicts = [gap.verdict for gap in gaps if gap.model == model]
        if verdicts and max(verdicts) <= 0:
            enough.append(model)
    if not enough:
        return []
    what = "words and n-grams" if NGRAMS in enough else "words"
    models = _listed(enough, "or")
    return [
        f"Counting {what} is enough here: {encoder} does not clearly beat {models} at any size."
    ]


def _listed(items: Sequence[str], word: str = "and") -> str:
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {word} {items[-1]}"

"""How a catalogue has changed since an encoder was trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitrina.comparison.domain import DomainScore, tell_apart
from vitrina.comparison.title_sample import TitleTable, sampled
from vitrina.encoder.title_encoder import TitleEncoder, unit_length
from vitrina.text.tokenizer import PAD, UNKNOWN

FEWEST_TITLES = 100
"""Distinct titles that each table must have for the domain classifier."""

_EXAMPLES = 10
_WORDS = 20


@dataclass(frozen=True)
class TextStatistics:
    """What an encoder's tokenizer finds in a table of titles.

    Attributes
    ----------
    empty : float
        Share of the rows whose title is missing or has neither a letter nor a digit.
    unknown_pieces : float
        Share of the pieces that the tokenizer doesn't know.
    new_words : float or None
        Share of the words of the measured titles that half of the first table doesn't have; None
        for a table that is compared with no other.
    """

    empty: float
    unknown_pieces: float
    new_words: float | None


@dataclass(frozen=True)
class Drift:
    """A catalogue now, beside the one that an encoder was trained on.

    Attributes
    ----------
    before, now : TextStatistics
        `now.new_words` can be compared with `before.new_words`: both are shares of words that
        another half of the first table lacks.
    frequent_new_words : list of (str, int)
        Words of the sampled titles that no sampled title of the first table has, with the number of
        titles; the most frequent first.
    domain : DomainScore or None
        None if a table has too few titles.
    typical_before, typical_now : list of str
        Titles that the domain classifier finds most typical of each table.
    shares : list of (str, float, float)
        Categories with their shares before and now, by the size of the change.
    moved : float or None
        Half the sum of the absolute changes of the shares: the part of the rows that would have to
        change category. None without categories.
    """

    before: TextStatistics
    now: TextStatistics
    frequent_new_words: list[tuple[str, int]]
    domain: DomainScore | None
    typical_before: list[str]
    typical_now: list[str]
    shares: list[tuple[str, float, float]]
    moved: float | None


def text_statistics(encoder: TitleEncoder, table: TitleTable) -> TextStatistics:
    """Compute the statistics of one table, without new words."""
    (sample,) = sampled(table)
    return TextStatistics(table.empty / table.rows, _unknown_pieces(encoder, list(sample)), None)


def measure_drift(encoder: TitleEncoder, before: TitleTable, now: TitleTable) -> Drift:
    """Compare two tables of titles, by an encoder's tokenizer and vectors.

    Parameters
    ----------
    encoder : TitleEncoder
    before : TitleTable
        The titles that it was trained on, or others of that time.
    now : TitleTable

    Returns
    -------
    Drift
    """
    first, second = sampled(before, now)
    titles = list(dict.fromkeys([*first, *second]))
    forms = encoder.weights.tokenizer.normalizer(titles)
    words = {title: set(form.split()) for title, form in zip(titles, forms, strict=True)}

    # The words of one half of the first table are known. The other half says how many new words to
    # expect; the same part of the second table says how many there are.
    known = _union(words, [title for title, number in first.items() if number < 0.5])
    measured = []
    for sample in (first, second):
        measured.append([title for title, number in sample.items() if number >= 0.5])
    statistics = []
    for table, sample, part in zip((before, now), (first, second), measured, strict=True):
        statistics.append(
            TextStatistics(
                table.empty / table.rows,
                _unknown_pieces(encoder, list(sample)),
                _share_unknown([words[title] for title in part], known),
            )
        )

    domain, of_before, of_now = _domain(encoder, titles, first, second)
    shares = _changes(before.shares, now.shares)
    return Drift(
        statistics[0],
        statistics[1],
        _frequent(words, second, _union(words, list(first))),
        domain,
        of_before,
        of_now,
        shares,
        sum(abs(new - old) for _, old, new in shares) / 2 if shares else None,
    )


def _unknown_pieces(encoder: TitleEncoder, titles: list[str]) -> float:
    ids = encoder.weights.tokenizer(titles).values
    return float((ids == UNKNOWN).sum() / max(1, (ids != PAD).sum()))


def _union(words: dict[str, set[str]], titles: list[str]) -> set[str]:
    return set().union(*(words[title] for title in titles))


def _share_unknown(words: list[set[str]], known: set[str]) -> float | None:
    """Share of the words of titles that are not known; None if there are no words."""
    total = sum(len(of_title) for of_title in words)
    new = sum(len(of_title - known) for of_title in words)
    return new / total if total else None


def _frequent(
    words: dict[str, set[str]], sample: Mapping[str, float], known: set[str]
) -> list[tuple[str, int]]:
    counts = Counter(word for title in sample for word in words[title] - known)
    # equal counts in alphabetical order
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return by_count[:_WORDS]


def _domain(
    encoder: TitleEncoder,
    titles: list[str],
    first: Mapping[str, float],
    second: Mapping[str, float],
) -> tuple[DomainScore | None, list[str], list[str]]:
    """The domain classifier's score, and the titles most typical of each table."""
    if min(len(first), len(second)) < FEWEST_TITLES:
        return None, [], []
    in_first = np.array([title in first for title in titles])
    in_second = np.array([title in second for title in titles])
    domain = tell_apart(unit_length(encoder.encode(titles)), in_first, in_second)
    order = np.argsort(domain.scores, kind="stable")
    only_first = [titles[row] for row in order if not in_second[row]]
    only_second = [titles[row] for row in order[::-1] if not in_first[row]]
    return domain, only_first[:_EXAMPLES], only_second[:_EXAMPLES]


def _changes(
    before: Mapping[str, float], now: Mapping[str, float]
) -> list[tuple[str, float, float]]:
    """Categories with both shares, the largest change first."""
    changes = []
    for name in sorted({*before, *now}):
        changes.append((name, before.get(name, 0.0), now.get(name, 0.0)))
    return sorted(changes, key=lambda change: -abs(change[2] - change[1]))

"""Whether a new encoder may take the place of an old one, and whether the catalogue has drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from vitrina._version import __version__
from vitrina.comparison.drift import Drift, measure_drift, text_statistics
from vitrina.comparison.neighbours import NeighboursKept, neighbours_kept
from vitrina.comparison.refits import read_labelled, refit
from vitrina.comparison.title_sample import TitleTable, read_titles, sampled
from vitrina.data.tables import Source
from vitrina.encoder.title_encoder import TitleEncoder
from vitrina.errors import InputError

MAX_AUC = 0.6
"""Default bound of the domain classifier's AUC; docs/compare.md has measured examples."""

_EXAMPLES = 10


def compare_encoders(
    old: TitleEncoder,
    new: TitleEncoder,
    titles: Source,
    *,
    trained_on: Source | None = None,
    labels: Source | None = None,
    label_column: str = "label",
    category_column: str | None = None,
    title_column: str = "title",
    max_auc: float = MAX_AUC,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare two encoders on the titles of today, and these with the titles of the training.

    Parameters
    ----------
    old : TitleEncoder
        The encoder in use. It also measures the drift.
    new : TitleEncoder
        The encoder to take its place. If it is the same, only the drift is measured.
    titles : str, Path, list of paths, or polars frame
        The catalogue of today.
    trained_on : str, Path, list of paths, or polars frame, optional
        The catalogue on which `old` was trained. Without it, drift can't be measured.
    labels : str, Path, list of paths, or polars frame, optional
        Titles with stored labels, on which a classifier is fitted with each encoder.
    label_column, title_column : str, optional
    category_column : str, optional
        Column of a category in `titles` and `trained_on`, whose shares are compared.
    max_auc : float, optional
        Bound of the domain classifier's AUC, from 0.5 to 1. The catalogue has drifted if the AUC is
        above this bound and above the null band.
    quiet : bool, optional
        Show no progress.

    Returns
    -------
    dict
        What JSON can hold: `old` and `new` (digests), `titles` and `trained_on` (counts),
        `neighbours`, `classifier` and `drift` (None where they were not measured), `unknown_pieces`
        of both encoders, `max_auc`, and `drifted`, which is None if drift was not measured.
        docs/compare.md explains the fields.

    Raises
    ------
    InputError
        If a table can't be read, lacks a column or has too few titles, or if `max_auc` is out of
        range.
    """
    if not 0.5 <= max_auc <= 1:
        raise InputError(f"`max_auc` is {max_auc:g}; give a number from 0.5 to 1")
    # all tables are read first, so that mistakes are found early
    now = read_titles(titles, title_column, category_column)
    before = None
    if trained_on is not None:
        before = read_titles(trained_on, title_column, category_column)
    labelled = None
    if labels is not None:
        labelled = read_labelled(old, labels, label_column, title_column)

    record: dict[str, Any] = {
        "vitrina": __version__,
        "old": old.weights.digest,
        "new": new.weights.digest,
        "titles": _counts(now),
        "trained_on": None if before is None else _counts(before),
        "unknown_pieces": {
            "old": text_statistics(old, now).unknown_pieces,
            "new": text_statistics(new, now).unknown_pieces,
        },
        "neighbours": None,
        "classifier": None,
        "drift": None,
        "max_auc": max_auc,
        "drifted": None,
    }
    if record["old"] != record["new"]:
        (sample,) = sampled(now)
        in_random_order = sorted(sample, key=sample.__getitem__)
        found = neighbours_kept(old, new, in_random_order, examples=_EXAMPLES, quiet=quiet)
        record["neighbours"] = None if found is None else _of_neighbours(found)
        if labelled is not None:
            record["classifier"] = asdict(refit(old, new, labelled, quiet=quiet))
    if before is not None:
        record["drift"] = _of_drift(measure_drift(old, before, now))
        record["drifted"] = _has_drifted(record["drift"]["domain"], max_auc)
    return record


def _counts(table: TitleTable) -> dict[str, Any]:
    return {
        "file": table.name,
        "rows": table.rows,
        "empty_titles": table.empty,
        "distinct_titles": len(table.titles),
    }


def _of_neighbours(found: NeighboursKept) -> dict[str, Any]:
    share = found.kept / found.k
    # half of the 95 % interval of a mean
    error = 1.96 * share.std() / math.sqrt(len(share))
    return {
        "k": found.k,
        "searched": found.searched,
        "queries": len(share),
        "overlap": float(share.mean()),
        "interval": [max(0.0, float(share.mean() - error)), min(1.0, float(share.mean() + error))],
        "queries_by_kept": np.bincount(found.kept, minlength=found.k + 1).tolist(),
        "changed": [list(titles) for titles in found.changed],
    }


def _of_drift(found: Drift) -> dict[str, Any]:
    domain = None
    if found.domain is not None:
        domain = {"auc": found.domain.auc, "null_band": list(found.domain.band)}
    return {
        "before": asdict(found.before),
        "now": asdict(found.now),
        "frequent_new_words": [list(word) for word in found.frequent_new_words],
        "domain": domain,
        "typical_before": found.typical_before,
        "typical_now": found.typical_now,
        "categories": [list(shares) for shares in found.shares],
        "moved": found.moved,
    }


def _has_drifted(domain: Mapping[str, Any] | None, max_auc: float) -> bool | None:
    if domain is None:
        return None
    return bool(domain["auc"] > max(max_auc, domain["null_band"][1]))

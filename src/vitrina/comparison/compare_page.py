"""The page of a comparison of two encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitrina.errors import shown
from vitrina.pages import html

_MOST_ROWS = 20
_LONGEST_TITLE = 120


def comparison_page(record: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the page.

    Parameters
    ----------
    record : mapping
        The result of `vitrina.comparison.compare.compare_encoders`.
    names : mapping of str to str
        What the page calls the encoders: `old` and `new`.

    Returns
    -------
    str
        HTML.
    """
    sections = {"Result": _result(record)}
    if record["neighbours"] is not None:
        sections["Neighbours"] = _neighbours(record["neighbours"])
    if record["classifier"] is not None:
        sections["Classifier"] = _classifier(record["classifier"])
    if record["drift"] is not None:
        sections["Drift of the catalogue"] = _drift(record["drift"])
    sections["Inputs"] = _inputs(record, names)
    lead = f"{names['old']} is the encoder in use, {names['new']} the one to take its place."
    return html.page("Two encoders on one catalogue", lead, sections)


def result_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the results in a sentence each."""
    lines = []
    if record["old"] == record["new"]:
        lines.append("The encoders are the same: only the drift was measured.")
    neighbours, classifier = record["neighbours"], record["classifier"]
    if neighbours is not None:
        lines.append(
            f"{neighbours['overlap']:.1%} of the {neighbours['k']} nearest titles are the same "
            f"(95 % interval {_interval(neighbours['interval'], '.1%')})."
        )
    if classifier is not None:
        lines.append(
            f"{classifier['metric']} of the refitted classifier: {classifier['old']:.3f} with the "
            f"old encoder, {classifier['new']:.3f} with the new one (95 % interval of the "
            f"difference {_interval(classifier['difference'], '+.3f')})."
        )
    lines.append(_verdict(record))
    return lines


def _verdict(record: Mapping[str, Any]) -> str:
    if record["drift"] is None:
        return "Drift was not measured: that needs the titles of the training."
    domain = record["drift"]["domain"]
    if domain is None:
        return "Drift was not measured: a table has too few distinct titles."
    found = (
        f"a classifier tells the titles of today from those of the training with AUC "
        f"{domain['auc']:.3f} (random halves: {_interval(domain['null_band'], '.3f')}; bound: "
        f"{record['max_auc']:g})"
    )
    if record["drifted"]:
        return f"The catalogue has drifted: {found}."
    return f"The catalogue has not drifted above the bound: {found}."


def _interval(ends: Sequence[float], form: str) -> str:
    return f"{ends[0]:{form}} to {ends[1]:{form}}"


def _result(record: Mapping[str, Any]) -> str:
    facts: dict[str, Any] = {}
    if record["neighbours"] is not None:
        kept = f"{record['neighbours']['overlap']:.1%}"
        facts[f"neighbours kept (overlap@{record['neighbours']['k']})"] = kept
    if record["classifier"] is not None:
        classifier = record["classifier"]
        facts[f"change of {classifier['metric']}"] = f"{classifier['new'] - classifier['old']:+.3f}"
    if record["drift"] is not None and record["drift"]["domain"] is not None:
        facts["AUC of the domain classifier"] = record["drift"]["domain"]["auc"]
        facts["drifted"] = record["drifted"]
    return html.tiles(facts) + html.bullets(result_lines(record))


def _neighbours(found: Mapping[str, Any]) -> str:
    queries = found["queries"]
    rows = []
    for kept, count in enumerate(found["queries_by_kept"]):
        rows.append([kept, count, _percent(count / queries)])
    counts = html.Table(["kept", "titles", "share"], rows)
    about = (
        f"For {queries:,} titles, the {found['k']} nearest of {found['searched']:,} titles were "
        "searched with each encoder, by the cosine of their vectors. Two encoders of equal quality "
        "also differ: compare with two that were trained with different seeds."
    )
    pieces = [html.text(about), counts.html()]
    if found["changed"]:
        changed = [[_short(title) for title in titles] for titles in found["changed"]]
        columns = ["title that kept the fewest", "nearest by the old", "nearest by the new"]
        pieces.append(html.fold("Titles that changed most", html.Table(columns, changed).html()))
    return "".join(pieces)


def _classifier(found: Mapping[str, Any]) -> str:
    about = (
        f"A classifier was fitted on {found['labels']:,} stored labels of {found['classes']} "
        "classes with each encoder, and scored by cross-validation on titles that it had not seen. "
        "Both used the same folds."
    )
    rows = [
        ["old", found["old"], ""],
        ["new", found["new"], _interval(found["difference"], "+.3f")],
    ]
    columns = ["encoder", found["metric"], "95 % interval of the difference"]
    return html.text(about) + html.Table(columns, rows).html()


def _drift(found: Mapping[str, Any]) -> str:
    before, now = found["before"], found["now"]
    names = {
        "empty": "rows without a title",
        "unknown_pieces": "pieces that the tokenizer doesn't know",
        "new_words": "words that half of the titles of the training lacks",
    }
    rows = []
    for field, name in names.items():
        rows.append([name, _percent(before[field]), _percent(now[field])])
    if found["moved"] is not None:
        rows.append(["rows that changed category, net", None, _percent(found["moved"])])
    pieces = [html.Table(["share", "training", "today"], rows).html()]
    if found["categories"]:
        largest = found["categories"][:_MOST_ROWS]
        shares = [[_short(name) or "–", _percent(a), _percent(b)] for name, a, b in largest]
        table = html.Table(["category", "training", "today"], shares).html()
        pieces.append(html.fold("Categories that changed most", table))
    if found["frequent_new_words"]:
        table = html.Table(["word", "titles"], found["frequent_new_words"]).html()
        pieces.append(html.fold("Frequent new words", table))
    if found["typical_now"]:
        pieces.append(html.fold("Titles typical of today", _titles(found["typical_now"])))
        pieces.append(html.fold("Titles typical of the training", _titles(found["typical_before"])))
    return "".join(pieces)


def _inputs(record: Mapping[str, Any], names: Mapping[str, str]) -> str:
    rows = []
    for which in ("old", "new"):
        unknown = _percent(record["unknown_pieces"][which])
        rows.append([which, names[which], record[which][:16], unknown])
    columns = ["encoder", "folder", "digest", "unknown pieces today"]
    encoders = html.Table(columns, rows).html()
    rows = []
    for name, which in (("today", "titles"), ("training", "trained_on")):
        table = record[which]
        if table is not None:
            counts = [table["rows"], table["empty_titles"], table["distinct_titles"]]
            rows.append([name, table["file"], *counts])
    columns = ["titles", "file", "rows", "rows without a title", "distinct titles"]
    return encoders + html.Table(columns, rows).html()


def _titles(titles: Sequence[str]) -> str:
    return html.bullets([_short(title) for title in titles])


def _short(title: str) -> str:
    return shown(title, _LONGEST_TITLE)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.2%}"

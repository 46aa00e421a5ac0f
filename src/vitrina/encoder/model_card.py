"""Parts of an encoder's model card: what the Hugging Face hub reads, and the training record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from vitrina.errors import InputError, shown

# A name of the hub's list, such as "apache-2.0", "cc-by-4.0" or "other".
_LICENSE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?")

_ROWS = 100
_LETTERS = 2_000
"""Letters of a cell of the table about the training."""


def front_matter(language: str | None, license: str | None = None) -> str:
    """Return the YAML block at the start of a model card.

    Parameters
    ----------
    language : str or None
        Name of the language of the titles, as `vitrina.text.normalize.Normalizer` knows it.
    license : str, optional
        The hub's name of a licence, such as "apache-2.0".

    Returns
    -------
    str
        The block between its two lines of dashes, and an empty line.

    Raises
    ------
    InputError
        If `license` can't be the name of a licence.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise InputError(
            f"`license` is '{shown(license, 60)}'; give the hub's name of a licence in lower case, "
            "such as apache-2.0 or other"
        )
    lines = []
    code = _language_code(language)
    if code:
        lines.append(f"language: {code}")
    if license:
        lines.append(f"license: {license}")
    lines += [
        "library_name: vitrina",
        "pipeline_tag: feature-extraction",
        "tags:",
        "- product-titles",
        "- sentence-embeddings",
        "- sentence-transformers",
        "- custom_code",  # the hub then shows that `trust_remote_code` is needed
    ]
    return "\n".join(["---", *lines, "---", "", ""])


def _language_code(name: str | None) -> str | None:
    """The ISO 639-1 code of a language's English name."""
    if name is None:
        return None
    from stop_words import LANGUAGE_MAPPING

    codes = {full: code for code, full in LANGUAGE_MAPPING.items()}
    return codes.get(name)


def training_section(training: Mapping[str, Any]) -> list[str]:
    """Return the lines about the training, which may come from a stranger's folder.

    Parameters
    ----------
    training : mapping
        The record of the training run; empty if there was none.

    Returns
    -------
    list of str
        Markdown of bounded length.
    """
    if not training:
        return ["It has not been trained: its weights are random."]
    lines = ["## Training", "", "| item | value |", "|---|---|"]
    for name, value in islice(training.items(), _ROWS):
        lines.append(f"| {_markdown(_spaced(name))} | {_markdown(_as_text(value))} |")
    return lines


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _as_text(value: Any) -> str:
    """Format a value of the training record for the model card; a dictionary becomes a list."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{_spaced(key)} {part}" for key, part in value.items())


def _markdown(text: str) -> str:
    """Text in a cell of the model card: no control characters, further cells, tags or links."""
    cell = shown(text, _LETTERS)
    for mark, escaped in (("|", r"\|"), ("<", r"\<"), ("](", r"]\(")):
        cell = cell.replace(mark, escaped)
    return cell

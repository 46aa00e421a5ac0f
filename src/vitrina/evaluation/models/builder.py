"""From names on the command line to models: options, checks and the default choice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from typing import Any

from vitrina.errors import InputError
from vitrina.evaluation.model import Model
from vitrina.evaluation.models.registry import MODELS, ModelContext, ModelEntry


def build(context: ModelContext, names: Sequence[str]) -> list[Model]:
    """Build the named baselines and check that they can run.

    Parameters
    ----------
    context : ModelContext
    names : sequence of str
        Each is NAME, NAME[option=value,...], NAME:MODEL or NAME[option=value,...]:MODEL.

    Returns
    -------
    list of Model
        The models, in the order of `names`.

    Raises
    ------
    InputError
        If a name is unknown, malformed or repeated, an option does not exist or has a wrong value,
        a baseline lacks its MODEL or its sessions, or a model cannot be read.
    MissingExtraError
        If a package that a baseline needs is not installed.
    """
    models: dict[str, Model] = {}
    for given in names:
        name, options, source = _parse(given)
        entry = _checked_entry(context, name, source)
        model = _with_options(name, entry.factory(context, source), options)
        model.check()
        if model.name in models:
            raise InputError(f"`baselines`: {model.name} is given twice; name it once")
        models[model.name] = model
    return list(models.values())


def _parse(given: str) -> tuple[str, dict[str, str], str]:
    """Split NAME[option=value,...]:MODEL into name, options and MODEL."""
    malformed = InputError(
        f"`baselines`: '{given}' should look like NAME, NAME[option=value,...] or NAME:MODEL"
    )
    # the name ends at the first bracket or colon; MODEL may hold both
    match = re.fullmatch(r"([^\[:]*)(?:\[([^\]]*)\])?(?::(.*))?", given)
    if match is None:
        raise malformed
    name, in_brackets, source = match.groups(default="")
    options = {}
    for option in in_brackets.split(","):
        if not option:
            continue
        key, _, value = option.partition("=")
        if not value:
            raise malformed
        options[key.strip()] = value.strip()
    return name, options, source


def _checked_entry(context: ModelContext, name: str, source: str) -> ModelEntry:
    """Look up a baseline and check that it has what it needs: MODEL, sessions."""
    if name not in MODELS:
        raise InputError(f"`baselines`: '{name}' is unknown; the names are {', '.join(MODELS)}")
    entry = MODELS[name]
    if source and entry.takes == "nothing":
        raise InputError(f"`baselines`: {name} takes nothing after a colon; write {name}")
    if not source and entry.takes == "model":
        raise InputError(
            f"`baselines`: {name} needs a model; write {name}:MODEL, where MODEL is a folder or a "
            "name on the hub"
        )
    if name == "encoder" and context.encoder is not None and not context.shops:
        raise InputError(
            "`baselines`: encoder is trained on the sessions of the task file, which has none; the "
            "saved encoder is compared without it"
        )
    if entry.lacks_sessions(context):
        raise InputError(
            f"`baselines`: {name} needs sessions; add [sessions.NAME] to the task file and "
            'sessions = "NAME" to its tasks'
        )
    if not source and entry.takes == "sessions":
        raise InputError(
            f"`baselines`: {name} needs a name; write {name}:NAME for the shop of [sessions.NAME]"
        )
    return entry


def _with_options(name: str, model: Model, options: Mapping[str, str]) -> Model:
    """Return the model with the numbers changed that the options name."""
    numbers: dict[str, Any] = {}
    for field in fields(model):
        value = getattr(model, field.name)
        # max_subsamples is None by default; a bool is a choice, not a number
        if field.name == "max_subsamples" or type(value) in (int, float):
            numbers[field.name] = value

    # an option is read as the kind of number that it replaces
    changes: dict[str, Any] = {}
    for option, text in options.items():
        if option not in numbers:
            raise InputError(
                f"`baselines`: {name} has no option '{option}'; it has {', '.join(numbers)}"
            )
        whole = not isinstance(numbers[option], float)
        try:
            number = int(text) if whole else float(text)
        except ValueError:
            number = -1
        if number < 0 or (number == 0 and whole):
            expected = "a whole number above 0" if whole else "a number, 0 or more"
            raise InputError(f"`baselines`: {name}[{option}={text}] should be {expected}")
        changes[option] = number
    return replace(model, **changes)


def default_names(context: ModelContext) -> tuple[list[str], list[str]]:
    """Choose the baselines that run where none are named.

    These are all that need no MODEL, whose sessions are available and whose packages are installed.

    Parameters
    ----------
    context : ModelContext

    Returns
    -------
    names : list of str
        The baselines to run.
    lacking : list of str
        Baselines that were left out because a package is not installed.
    """
    names: list[str] = []
    lacking: list[str] = []
    for entry in MODELS.values():
        if entry.takes != "nothing" or entry.lacks_sessions(context):
            continue
        # a saved encoder is itself a model of the comparison, with words: it takes this one's place
        if entry.name == "encoder" and context.encoder is not None:
            continue
        # the packages depend on the context: a saved encoder needs no torch
        packages = entry.factory(context, "").packages
        installed = all(find_spec(package) is not None for package in packages)
        if installed:
            names.append(entry.name)
        else:
            lacking.append(entry.name)
    return names, lacking

"""The models of `vitrina evaluate`, by the names that its command line gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from vitrina.errors import InputError
from vitrina.evaluation.model import Model
from vitrina.evaluation.models.bag_of_words import BagOfWords
from vitrina.evaluation.models.fasttext import FastText, FastTextAutotune
from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
from vitrina.evaluation.models.prod2vec import MetaProd2Vec, Prod2Vec
from vitrina.evaluation.models.setfit import SetFit
from vitrina.evaluation.models.text_cnn import TextCNN
from vitrina.evaluation.models.transformer import StaticEmbedding, Transformer, model_label
from vitrina.evaluation.shop import Shop

BETO = "dccuchile/bert-base-spanish-wwm-uncased"


@dataclass(frozen=True)
class ModelContext:
    """What models are made from.

    Attributes
    ----------
    folder : where their costly work is kept
    shops : sessions by name
    encoder : a saved encoder, whose tokenizer the random encoder then has
    seed : of pre-training
    quick : models that show that all works, in seconds
    """

    folder: Path
    shops: Mapping[str, Shop]
    encoder: Path | None = None
    seed: int = 0
    quick: bool = False

    def encoder_model(
        self, name: str, *, untrained: bool = False, use_words: bool = False, **changes: Any
    ) -> FrozenEncoder:
        """A model with an encoder that is pre-trained on each task's sessions."""
        changes = {"seed": self.seed, **changes}
        return FrozenEncoder(
            name=name,
            folder=self.folder,
            shops=self.shops,
            changes=changes,
            untrained=untrained,
            use_words=use_words,
            max_sessions=2_000 if self.quick else None,
        )


def _alone(context: ModelContext, argument: str) -> Model:
    if context.encoder is None:
        return context.encoder_model("encoder alone")
    return FrozenEncoder(name="encoder alone", folder=context.folder, saved=context.encoder)


def _random(context: ModelContext, argument: str) -> Model:
    if context.encoder is None:
        return context.encoder_model("random encoder", untrained=True)
    return FrozenEncoder(
        name="random encoder", folder=context.folder, saved=context.encoder, untrained=True
    )


def _fasttext_autotune(context: ModelContext, argument: str) -> Model:
    seconds = 3 if context.quick else 20
    return FastTextAutotune(
        name="fastText, autotuned", folder=context.folder, autotune_seconds=seconds
    )


def _text_cnn(context: ModelContext, argument: str) -> Model:
    quick = {"seeds": 1, "epochs": 3} if context.quick else {}
    return TextCNN(name="Text CNN", folder=context.folder, **quick)


def _transformer(
    context: ModelContext, argument: str, pooling: Literal["cls", "mean"] = "cls"
) -> Model:
    source = argument or BETO
    label = model_label(source)
    return Transformer(
        name=f"{label} {'[CLS]' if pooling == 'cls' else 'mean'}",
        folder=context.folder,
        source=source,
        pooling=pooling,
        prefix="query: " if "e5-" in label.lower() else "",  # what E5 was trained with
    )


def _model2vec(context: ModelContext, argument: str) -> Model:
    return StaticEmbedding(name=model_label(argument), folder=context.folder, source=argument)


def _setfit(context: ModelContext, argument: str) -> Model:
    quick = {"steps": 3} if context.quick else {}
    name = f"SetFit {model_label(argument)}"
    return SetFit(name=name, folder=context.folder, source=argument, **quick)


def _product_vectors(
    context: ModelContext, argument: str, kind: type[Prod2Vec], name: str
) -> Model:
    quick = {"pairs": 100_000} if context.quick else {}
    return kind(name=name, folder=context.folder, shops=context.shops, **quick)


MODELS: Mapping[str, Callable[[ModelContext, str], Model]] = MappingProxyType(
    {
        "encoder": lambda context, argument: context.encoder_model("encoder", use_words=True),
        "encoder-alone": _alone,
        "paper": lambda context, argument: context.encoder_model("paper preset", preset="paper"),
        "random": _random,
        "simclr": lambda context, argument: context.encoder_model(
            "SimCLR encoder", objective="simclr"
        ),
        "bag-of-words": lambda context, argument: BagOfWords(name="bag of words", tfidf=False),
        "tf-idf": lambda context, argument: BagOfWords(name="TF-IDF"),
        "fasttext": lambda context, argument: FastText(name="fastText", folder=context.folder),
        "fasttext-autotune": _fasttext_autotune,
        "text-cnn": _text_cnn,
        "prod2vec": partial(_product_vectors, kind=Prod2Vec, name="Prod2Vec + KNN"),
        "meta-prod2vec": partial(_product_vectors, kind=MetaProd2Vec, name="Meta-Prod2Vec + KNN"),
        "transformer": _transformer,
        "transformer-mean": partial(_transformer, pooling="mean"),
        "model2vec": _model2vec,
        "setfit": _setfit,
    }
)
"""Name -> model. The last four take a folder or the name of a model on the hub behind a colon
(BETO by default for transformers); all take changes to their numbers in brackets:
text-cnn[seeds_above=5], setfit[max_subsamples=1]:MODEL."""

_TAKES_MODEL = ("transformer", "transformer-mean", "model2vec", "setfit")
_PRETRAINED = ("encoder", "paper", "simclr", "prod2vec", "meta-prod2vec")
_WITHOUT_SAVED = ("encoder-alone", "random")  # they need sessions unless an encoder is given


def build(context: ModelContext, names: Sequence[str]) -> list[Model]:
    """The models of the given names.

    Raises
    ------
    InputError
        for an unknown name, one that needs a model or sessions and has none, or a missing package
    """
    models: dict[str, Model] = {}
    for given in names:
        name, options, argument = _parsed(given)
        if name not in MODELS:
            raise InputError(f"--baselines: '{name}' is unknown; there are {', '.join(MODELS)}")
        if argument and name not in _TAKES_MODEL:
            raise InputError(f"--baselines: {name} takes nothing behind a colon; write {name}")
        if not argument and name in ("model2vec", "setfit"):
            raise InputError(
                f"--baselines: {name} needs a model; write {name}:MODEL, MODEL being a folder or "
                "a name on the hub"
            )
        if not context.shops and (
            name in _PRETRAINED or (name in _WITHOUT_SAVED and context.encoder is None)
        ):
            raise InputError(
                f"--baselines: {name} needs sessions; add [sessions.NAME] to the tasks' file and "
                'sessions = "NAME" to its tasks'
            )
        model = _with_options(name, MODELS[name](context, argument), options)
        model.check()
        if model.name in models:
            raise InputError(f"--baselines: {model.name} is there twice; name it once")
        models[model.name] = model
    return list(models.values())


def _parsed(given: str) -> tuple[str, dict[str, str], str]:
    """Name, options and model of NAME[option=value,...]:MODEL."""
    match = re.fullmatch(r"([^\[:]*)(?:\[([^\]]*)\])?(?::(.*))?", given)
    options = [
        option.partition("=") for option in ((match and match[2]) or "").split(",") if option
    ]
    if match is None or not all(value for _, _, value in options):
        raise InputError(
            f"--baselines: '{given}' should look like NAME, NAME[option=value,...] or NAME:MODEL"
        )
    return match[1], {key.strip(): value.strip() for key, _, value in options}, match[3] or ""


def _with_options(name: str, model: Model, options: Mapping[str, str]) -> Model:
    """The model with some of its numbers changed."""
    numbers = {
        field.name: getattr(model, field.name)
        for field in fields(model)
        if field.name == "max_subsamples" or type(getattr(model, field.name)) in (int, float)
    }
    changes: dict[str, Any] = {}
    for option, value in options.items():
        if option not in numbers:
            raise InputError(
                f"--baselines: {name} has no option '{option}'; it has {', '.join(numbers)}"
            )
        whole = not isinstance(numbers[option], float)
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = -1
        if number < 0 or (number == 0 and whole):
            expected = "a whole number above 0" if whole else "a number"
            raise InputError(f"--baselines: {name}[{option}={value}] should be {expected}")
        changes[option] = number
    return replace(model, **changes)


def default_names(context: ModelContext) -> tuple[list[str], list[str]]:
    """All that can run without a model from elsewhere; and those that lack a package."""
    names = [name for name in MODELS if name not in _TAKES_MODEL]
    if context.encoder is not None:
        names.remove("encoder")  # the saved one is judged
    if not context.shops:
        needing = _PRETRAINED if context.encoder else _PRETRAINED + _WITHOUT_SAVED
        names = [name for name in names if name not in needing]
    lacking = [
        name
        for name in names
        if any(find_spec(package) is None for package in MODELS[name](context, "").packages)
    ]
    return [name for name in names if name not in lacking], lacking

"""The baselines of `vitrina evaluate`: one record for each name on the command line.

A factory imports its model's class when it is called. So the command's help can list the baselines
without loading scikit-learn, numba or torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vitrina.errors import InputError

if TYPE_CHECKING:
    from vitrina.evaluation.model import Model
    from vitrina.evaluation.models.frozen_encoder import FrozenEncoder
    from vitrina.evaluation.models.stored_vectors import StoredVectorsModel
    from vitrina.evaluation.shop import Shop

Factory: TypeAlias = "Callable[[ModelContext, str], Model]"


@dataclass(frozen=True)
class ModelContext:
    """What the baselines of one comparison are built from.

    Attributes
    ----------
    folder : Path
        Where models store results that are costly to compute, such as pre-trained encoders.
    shops : mapping of str to Shop
        The shops whose sessions models can be pre-trained on, by name.
    encoder : Path, optional
        Folder of a saved encoder. The baselines `encoder-alone` and `random` then use its weights
        and its tokenizer; otherwise they make their own from each task's sessions.
    seed : int, default 0
        Random seed of pre-training.
    quick : bool, default False
        Build small models that run in seconds, for a smoke test.
    """

    folder: Path
    shops: Mapping[str, Shop]
    encoder: Path | None = None
    seed: int = 0
    quick: bool = False

    def encoder_model(
        self, name: str, *, untrained: bool = False, use_words: bool = False, **changes: Any
    ) -> FrozenEncoder:
        """Build a model whose encoder is pre-trained on each task's sessions.

        Parameters
        ----------
        name : str
            Name of the model in tables.
        untrained : bool, default False
            Keep the encoder's initial weights.
        use_words : bool, default False
            Add TF-IDF features of the titles' words to the vectors.
        **changes
            Changes to the pre-training settings, see `FrozenEncoder.changes`. They override the
            context's seed.

        Returns
        -------
        FrozenEncoder
        """
        from vitrina.evaluation.models.frozen_encoder import FrozenEncoder

        return FrozenEncoder(
            name=name,
            folder=self.folder,
            shops=self.shops,
            changes={"seed": self.seed, **changes},
            untrained=untrained,
            use_words=use_words,
            max_sessions=2_000 if self.quick else None,
        )


@dataclass(frozen=True)
class ModelEntry:
    """One baseline: its name, how it is built and what it needs.

    Attributes
    ----------
    name : str
        Name on the command line.
    factory : callable
        Builds the model from a context and MODEL, the text after the name's colon ("" if none).
    description : str
        One line for the command's help.
    takes_model : {"none", "optional", "required"}
        Whether MODEL, a folder or a name on the Hugging Face hub, may or must be given.
    needs_sessions : {"always", "without a saved encoder", "never"}
        When the baseline can only run on tasks that have sessions.
    """

    name: str
    factory: Factory
    description: str
    takes_model: Literal["none", "optional", "required"] = "none"
    needs_sessions: Literal["always", "without a saved encoder", "never"] = "never"

    @property
    def usage(self) -> str:
        """How the name is written: NAME, NAME[:MODEL] or NAME:MODEL."""
        suffix = {"none": "", "optional": "[:MODEL]", "required": ":MODEL"}
        return self.name + suffix[self.takes_model]

    def lacks_sessions(self, context: ModelContext) -> bool:
        """Whether this baseline needs sessions that `context` does not have."""
        if context.shops or self.needs_sessions == "never":
            return False
        return self.needs_sessions == "always" or context.encoder is None


def _encoder(context: ModelContext, source: str) -> Model:
    return context.encoder_model("encoder", use_words=True)


def _encoder_alone(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.frozen_encoder import FrozenEncoder

    if context.encoder is None:
        return context.encoder_model("encoder alone")
    return FrozenEncoder(name="encoder alone", folder=context.folder, saved=context.encoder)


def _paper(context: ModelContext, source: str) -> Model:
    return context.encoder_model("paper preset", preset="paper")


def _random(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.frozen_encoder import FrozenEncoder

    if context.encoder is None:
        return context.encoder_model("random encoder", untrained=True)
    return FrozenEncoder(
        name="random encoder", folder=context.folder, saved=context.encoder, untrained=True
    )


def _simclr(context: ModelContext, source: str) -> Model:
    return context.encoder_model("SimCLR encoder", objective="simclr")


def _bag_of_words(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.bag_of_words import BagOfWords

    return BagOfWords(name="bag of words", tfidf=False)


def _tfidf(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.bag_of_words import BagOfWords

    return BagOfWords(name="TF-IDF")


def _tfidf_ngrams(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.bag_of_words import NgramTfidf

    return NgramTfidf(name="TF-IDF of n-grams")


def _lsa(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.lsa import LSA

    model = LSA(name="LSA", folder=context.folder, shops=context.shops)
    return replace(model, max_titles=2_000) if context.quick else model


def _fasttext(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.fasttext import FastText

    return FastText(name="fastText", folder=context.folder)


def _fasttext_autotune(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.fasttext import FastTextAutotune

    seconds = 3 if context.quick else 20
    return FastTextAutotune(
        name="fastText, autotuned", folder=context.folder, autotune_seconds=seconds
    )


def _text_cnn(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.text_cnn import TextCNN

    model = TextCNN(name="Text CNN", folder=context.folder)
    return replace(model, seeds=1, epochs=3) if context.quick else model


def _prod2vec(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.prod2vec import Prod2Vec

    model = Prod2Vec(name="Prod2Vec + KNN", folder=context.folder, shops=context.shops)
    return replace(model, pairs=100_000) if context.quick else model


def _meta_prod2vec(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.prod2vec import MetaProd2Vec

    model = MetaProd2Vec(name="Meta-Prod2Vec + KNN", folder=context.folder, shops=context.shops)
    return replace(model, pairs=100_000) if context.quick else model


def _transformer(context: ModelContext, source: str) -> StoredVectorsModel:
    return _pooled_transformer(context, source, "cls")


def _transformer_mean(context: ModelContext, source: str) -> StoredVectorsModel:
    return _pooled_transformer(context, source, "mean")


def _transformer_words(context: ModelContext, source: str) -> Model:
    return _with_words(_transformer(context, source))


def _transformer_mean_words(context: ModelContext, source: str) -> Model:
    return _with_words(_transformer_mean(context, source))


def _pooled_transformer(
    context: ModelContext, source: str, pooling: Literal["cls", "mean"]
) -> StoredVectorsModel:
    from vitrina.evaluation.models.transformer import BETO, Transformer, model_label

    source = source or BETO
    label = model_label(source)
    # E5 models were trained with this prefix before every text
    prefix = "query: " if "e5-" in label.lower() else ""
    return Transformer(
        name=f"{label} [CLS]" if pooling == "cls" else f"{label} mean",
        folder=context.folder,
        source=source,
        pooling=pooling,
        prefix=prefix,
    )


def _model2vec(context: ModelContext, source: str) -> StoredVectorsModel:
    from vitrina.evaluation.models.transformer import StaticEmbedding, model_label

    return StaticEmbedding(name=model_label(source), folder=context.folder, source=source)


def _model2vec_words(context: ModelContext, source: str) -> Model:
    return _with_words(_model2vec(context, source))


def _with_words(model: StoredVectorsModel) -> Model:
    return replace(model, name=f"{model.name} + words", use_words=True)


def _setfit(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.setfit import SetFit
    from vitrina.evaluation.models.transformer import model_label

    model = SetFit(name=f"SetFit {model_label(source)}", folder=context.folder, source=source)
    return replace(model, steps=3) if context.quick else model


_ENTRIES = (
    ModelEntry(
        "encoder",
        _encoder,
        "an encoder pre-trained on the task's sessions, with the titles' words",
        needs_sessions="always",
    ),
    ModelEntry(
        "encoder-alone",
        _encoder_alone,
        "the same without words; the saved encoder, if one is given",
        needs_sessions="without a saved encoder",
    ),
    ModelEntry(
        "paper",
        _paper,
        "an encoder pre-trained with the paper's settings, without words",
        needs_sessions="always",
    ),
    ModelEntry(
        "random",
        _random,
        "the same as encoder-alone, before training",
        needs_sessions="without a saved encoder",
    ),
    ModelEntry(
        "simclr",
        _simclr,
        "an encoder pre-trained by SimCLR, without words",
        needs_sessions="always",
    ),
    ModelEntry("bag-of-words", _bag_of_words, "a linear model on word counts"),
    ModelEntry("tf-idf", _tfidf, "a linear model on TF-IDF features of words"),
    ModelEntry(
        "tf-idf-ngrams",
        _tfidf_ngrams,
        "the same with pairs of words and character n-grams, and C chosen by cross-validation",
    ),
    ModelEntry(
        "lsa",
        _lsa,
        "the first 512 singular vectors of these features, fitted on the titles of the task's shop",
    ),
    ModelEntry("fasttext", _fasttext, "fastText's classifier with its default arguments"),
    ModelEntry(
        "fasttext-autotune", _fasttext_autotune, "fastText's classifier, tuned by its autotune"
    ),
    ModelEntry("text-cnn", _text_cnn, "the encoder's network, trained from scratch on each task"),
    ModelEntry(
        "prod2vec",
        _prod2vec,
        "nearest neighbours of product vectors from the task's sessions",
        needs_sessions="always",
    ),
    ModelEntry(
        "meta-prod2vec",
        _meta_prod2vec,
        "the same with the products' words and categories",
        needs_sessions="always",
    ),
    ModelEntry(
        "transformer",
        _transformer,
        "a frozen transformer's [CLS] vectors, BETO's by default",
        takes_model="optional",
    ),
    ModelEntry(
        "transformer-mean",
        _transformer_mean,
        "the mean of a frozen transformer's token vectors, BETO's by default",
        takes_model="optional",
    ),
    ModelEntry(
        "transformer-words",
        _transformer_words,
        "transformer, with the titles' words",
        takes_model="optional",
    ),
    ModelEntry(
        "transformer-mean-words",
        _transformer_mean_words,
        "transformer-mean, with the titles' words",
        takes_model="optional",
    ),
    ModelEntry(
        "model2vec",
        _model2vec,
        "the static embeddings of a model2vec model",
        takes_model="required",
    ),
    ModelEntry(
        "model2vec-words",
        _model2vec_words,
        "model2vec, with the titles' words",
        takes_model="required",
    ),
    ModelEntry(
        "setfit",
        _setfit,
        "a sentence transformer, fine-tuned on each task by SetFit",
        takes_model="required",
    ),
)

MODELS: Mapping[str, ModelEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""The baselines by name, in the order in which they run by default.

Options in brackets change the numbers of any of them, and a colon precedes MODEL:
text-cnn[seeds_above=5], setfit[max_subsamples=1]:MODEL.
"""


def describe_baselines() -> str:
    """List all baselines for the command's help, one Markdown bullet each."""
    return "\n".join(f"- {entry.usage}: {entry.description}" for entry in MODELS.values())


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
    if source and entry.takes_model == "none":
        raise InputError(f"`baselines`: {name} takes nothing after a colon; write {name}")
    if not source and entry.takes_model == "required":
        raise InputError(
            f"`baselines`: {name} needs a model; write {name}:MODEL, where MODEL is a folder or a "
            "name on the hub"
        )
    if entry.lacks_sessions(context):
        raise InputError(
            f"`baselines`: {name} needs sessions; add [sessions.NAME] to the task file and "
            'sessions = "NAME" to its tasks'
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
        if entry.takes_model != "none" or entry.lacks_sessions(context):
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

"""The baselines of `vitrina evaluate`: one record for each name on the command line.

A factory imports its model's class when it is called. So the command's help can list the baselines
without loading scikit-learn, numba or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
        self,
        name: str,
        *,
        use_teacher: bool = False,
        untrained: bool = False,
        use_words: bool = False,
        **changes: Any,
    ) -> FrozenEncoder:
        """Build a model whose encoder is pre-trained on each task's sessions.

        Parameters
        ----------
        name : str
            Name of the model in tables.
        use_teacher : bool, default False
            Learn from the teacher of a shop, if it has one.
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
            use_teacher=use_teacher,
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
        Builds the model from a context and the text after the name's colon ("" if none).
    description : str
        One line for the command's help.
    takes : {"nothing", "model or nothing", "model", "sessions"}
        What follows the name's colon: MODEL, a folder or a name on the Hugging Face hub, or
        SESSIONS, a name of sessions in the task file.
    needs_sessions : {"always", "without a saved encoder", "never"}
        When the baseline can only run on tasks that have sessions.
    """

    name: str
    factory: Factory
    description: str
    takes: Literal["nothing", "model or nothing", "model", "sessions"] = "nothing"
    needs_sessions: Literal["always", "without a saved encoder", "never"] = "never"

    @property
    def usage(self) -> str:
        """How the name is written: NAME, NAME[:MODEL], NAME:MODEL or NAME:SESSIONS."""
        suffix = {
            "nothing": "",
            "model or nothing": "[:MODEL]",
            "model": ":MODEL",
            "sessions": ":SESSIONS",
        }
        return self.name + suffix[self.takes]

    def lacks_sessions(self, context: ModelContext) -> bool:
        """Whether this baseline needs sessions that `context` does not have."""
        if context.shops or self.needs_sessions == "never":
            return False
        return self.needs_sessions == "always" or context.encoder is None


def _encoder(context: ModelContext, source: str) -> Model:
    return context.encoder_model("encoder", use_teacher=True, use_words=True)


def _encoder_alone(context: ModelContext, source: str) -> Model:
    from vitrina.evaluation.models.frozen_encoder import FrozenEncoder

    if context.encoder is None:
        return context.encoder_model("encoder alone", use_teacher=True)
    return FrozenEncoder(name="encoder alone", folder=context.folder, saved=context.encoder)


def _encoder_of(context: ModelContext, source: str) -> Model:
    if source not in context.shops:
        raise InputError(
            f"`baselines`: encoder-of:{source} needs sessions of that name; the task file has "
            f"{', '.join(context.shops)}"
        )
    model = context.encoder_model(f"encoder of {source}", use_teacher=True)
    return replace(model, shop=source)


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
    ModelEntry(
        "encoder-of",
        _encoder_of,
        "encoder-alone, pre-trained on one shop's sessions for the tasks of all shops",
        takes="sessions",
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
        takes="model or nothing",
    ),
    ModelEntry(
        "transformer-mean",
        _transformer_mean,
        "the mean of a frozen transformer's token vectors, BETO's by default",
        takes="model or nothing",
    ),
    ModelEntry(
        "transformer-words",
        _transformer_words,
        "transformer, with the titles' words",
        takes="model or nothing",
    ),
    ModelEntry(
        "transformer-mean-words",
        _transformer_mean_words,
        "transformer-mean, with the titles' words",
        takes="model or nothing",
    ),
    ModelEntry(
        "model2vec",
        _model2vec,
        "the static embeddings of a model2vec model",
        takes="model",
    ),
    ModelEntry(
        "model2vec-words",
        _model2vec_words,
        "model2vec, with the titles' words",
        takes="model",
    ),
    ModelEntry(
        "setfit",
        _setfit,
        "a sentence transformer, fine-tuned on each task by SetFit",
        takes="model",
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

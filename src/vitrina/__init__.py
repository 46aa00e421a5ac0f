"""vitrina: product embeddings from browsing sessions.

The names below are imported when they are first used. So `import vitrina` is fast, and using an
encoder does not load what only training needs.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vitrina._version import __version__ as __version__

# Type checkers read these imports and Python reads `_HOME`. A test checks that they agree.
if TYPE_CHECKING:
    from vitrina.classification.classifier import TitleClassifier as TitleClassifier
    from vitrina.classification.features import TitleFeatures as TitleFeatures
    from vitrina.classification.predict import fit_file as fit_file
    from vitrina.classification.predict import predict_file as predict_file
    from vitrina.classification.regressor import TitleRegressor as TitleRegressor
    from vitrina.data.catalogue import Catalogue as Catalogue
    from vitrina.data.catalogue import CatalogueColumns as CatalogueColumns
    from vitrina.data.catalogue import read_catalogue as read_catalogue
    from vitrina.data.sessions import EventColumns as EventColumns
    from vitrina.data.sessions import Sessions as Sessions
    from vitrina.data.sessions import sessionize as sessionize
    from vitrina.data.sources import load_public_dataset as load_public_dataset
    from vitrina.encoder.embed import embed_file as embed_file
    from vitrina.encoder.refresh import refresh_file as refresh_file
    from vitrina.encoder.title_encoder import TitleEncoder as TitleEncoder
    from vitrina.errors import InputError as InputError
    from vitrina.errors import MissingExtraError as MissingExtraError
    from vitrina.evaluation.evaluate import evaluate as evaluate
    from vitrina.pretraining.from_tables import train_from_tables as train_from_tables
    from vitrina.pretraining.settings import Settings as Settings
    from vitrina.pretraining.settings import preset as preset
    from vitrina.pretraining.train import train as train
    from vitrina.search.index import TitleIndex as TitleIndex
    from vitrina.search.similar import most_similar as most_similar
    from vitrina.text.normalize import Normalizer as Normalizer
    from vitrina.text.tokenizer import TitleTokenizer as TitleTokenizer

# Public name -> module that defines it, in the order in which data flows.
_HOME = {
    "InputError": "vitrina.errors",
    "MissingExtraError": "vitrina.errors",
    "CatalogueColumns": "vitrina.data.catalogue",
    "EventColumns": "vitrina.data.sessions",
    "Catalogue": "vitrina.data.catalogue",
    "read_catalogue": "vitrina.data.catalogue",
    "Sessions": "vitrina.data.sessions",
    "sessionize": "vitrina.data.sessions",
    "load_public_dataset": "vitrina.data.sources",
    "Normalizer": "vitrina.text.normalize",
    "TitleTokenizer": "vitrina.text.tokenizer",
    "Settings": "vitrina.pretraining.settings",
    "preset": "vitrina.pretraining.settings",
    "train": "vitrina.pretraining.train",
    "train_from_tables": "vitrina.pretraining.from_tables",
    "TitleEncoder": "vitrina.encoder.title_encoder",
    "embed_file": "vitrina.encoder.embed",
    "refresh_file": "vitrina.encoder.refresh",
    "most_similar": "vitrina.search.similar",
    "TitleIndex": "vitrina.search.index",
    "TitleFeatures": "vitrina.classification.features",
    "TitleClassifier": "vitrina.classification.classifier",
    "TitleRegressor": "vitrina.classification.regressor",
    "fit_file": "vitrina.classification.predict",
    "predict_file": "vitrina.classification.predict",
    "evaluate": "vitrina.evaluation.evaluate",
}

__all__ = sorted(["__version__", *_HOME])
if find_spec("torch") is None:
    # `help(vitrina)` and `from vitrina import *` use all of these names
    __all__.remove("train")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vitrina' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__

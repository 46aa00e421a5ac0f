"""vitrina: product embeddings from browsing sessions (a table of contents).

Names are imported when first used, so that `import vitrina` costs nothing and using an encoder
never loads what only training needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitrina._version import __version__

if TYPE_CHECKING:
    from vitrina.classification.classifier import TitleClassifier as TitleClassifier
    from vitrina.data.catalogue import Catalogue as Catalogue
    from vitrina.data.catalogue import CatalogueColumns as CatalogueColumns
    from vitrina.data.catalogue import read_catalogue as read_catalogue
    from vitrina.data.sessions import EventColumns as EventColumns
    from vitrina.data.sessions import Sessions as Sessions
    from vitrina.data.sessions import sessionize as sessionize
    from vitrina.data.sources import load_public_dataset as load_public_dataset
    from vitrina.encoder.embed import embed_file as embed_file
    from vitrina.encoder.embed import most_similar as most_similar
    from vitrina.encoder.title_encoder import TitleEncoder as TitleEncoder
    from vitrina.errors import InputError as InputError
    from vitrina.evaluation.evaluate import evaluate as evaluate
    from vitrina.pretraining.settings import preset as preset
    from vitrina.pretraining.train import train as train
    from vitrina.text.normalize import Normalizer as Normalizer
    from vitrina.text.tokenizer import TitleTokenizer as TitleTokenizer

_HOME = {  # in the order in which data flows
    "InputError": "vitrina.errors",
    "CatalogueColumns": "vitrina.data.catalogue",
    "EventColumns": "vitrina.data.sessions",
    "Catalogue": "vitrina.data.catalogue",
    "read_catalogue": "vitrina.data.catalogue",
    "Sessions": "vitrina.data.sessions",
    "sessionize": "vitrina.data.sessions",
    "load_public_dataset": "vitrina.data.sources",
    "Normalizer": "vitrina.text.normalize",
    "TitleTokenizer": "vitrina.text.tokenizer",
    "preset": "vitrina.pretraining.settings",
    "train": "vitrina.pretraining.train",
    "TitleEncoder": "vitrina.encoder.title_encoder",
    "embed_file": "vitrina.encoder.embed",
    "most_similar": "vitrina.encoder.embed",
    "TitleClassifier": "vitrina.classification.classifier",
    "evaluate": "vitrina.evaluation.evaluate",
}

__all__ = sorted(["__version__", *_HOME])


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vitrina' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__

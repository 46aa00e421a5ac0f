"""vitrina: product embeddings from browsing sessions (a table of contents).

Names are imported when first used, so that `import vitrina` costs nothing and using an encoder
never loads what only training needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vitrina.encoder.title_encoder import TitleEncoder as TitleEncoder

_HOME = {
    "TitleEncoder": "vitrina.encoder.title_encoder",
}

__all__ = sorted(["__version__", *_HOME])


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vitrina' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
